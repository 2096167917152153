"""The base installation is small and works away from the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "install_size.py"


@pytest.mark.network
@pytest.mark.slow
def test_base_installation_is_under_60_megabytes() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": under the limit of 60 MB" in done.stdout
