"""The test summary names what was not exercised and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"

TESTS = """
import pytest

@pytest.mark.slow
def test_slow(): pass

@pytest.mark.shared_data
def test_data_marker(): raise AssertionError("must be skipped")

def test_data_fixture(test_data): raise AssertionError("must be skipped")

@pytest.mark.weights
def test_gemma(gemma3_path): raise AssertionError("must be skipped")

@pytest.mark.skip(reason="the moon is full")
def test_other(): pass

def test_passes(): pass
"""

CONFIG = """
[pytest]
markers =
    slow: s
    network: n
    weights: w
    shared_data: d
"""


def test_summary_names_each_skip_and_its_reason(tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text(CONFIG)
    (tmp_path / "test_sample.py").write_text(TESTS)
    environment = {key: value for key, value in os.environ.items() if key != "ASSAY_TEST_DATA"}
    environment["ASSAY_GEMMA3_GGUF"] = str(tmp_path / "none.gguf")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow and not network"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.split("not exercised here")[1]
    for line in (
        "slow: 1 deselected (takes more than ten seconds; `make test-slow` runs it)",
        "shared_data: 1 skipped (ASSAY_TEST_DATA is not set; it names the folder of the shared data)",
        "other: 1 skipped (ASSAY_TEST_DATA is not set; it names the folder of the shared data)",
        "other: 1 skipped (the moon is full)",
        "weights: 1 skipped (ASSAY_GEMMA3_GGUF = ",
    ):
        assert line in summary
    assert "1 passed, 4 skipped, 1 deselected" in done.stdout
