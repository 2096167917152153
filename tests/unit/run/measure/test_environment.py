"""The record of the surroundings: it validates, round-trips, and names what is missing; it imports no framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assay.core.errors import UnsupportedError
from assay.core.records import Absent, Environment
from assay.run.measure.environment import (
    cpu_times,
    environment,
    git_revision,
    load,
    machine,
    package_versions,
    this_system,
    thread_settings,
)
from assay.run.measure.system import run_command


def test_the_record_round_trips() -> None:
    before, times = load(), cpu_times()
    record = environment(before, load(times), threads=2, packages=("pydantic", "no-such-package"), described=machine())
    assert Environment.from_json(record.to_json()) == record
    assert set(record.packages) == {"pydantic"}
    assert record.threads == 2
    assert record.python.endswith(".".join(map(str, sys.version_info[:3])))


def test_versions_are_those_that_the_packages_state() -> None:
    import pydantic

    assert package_versions(["pydantic"]) == {"pydantic": pydantic.VERSION}


def test_only_thread_settings_are_kept() -> None:
    assert thread_settings({"OMP_NUM_THREADS": "2", "HOME": "/x", "KMP_BLOCKTIME": "0"}) == {
        "OMP_NUM_THREADS": "2",
        "KMP_BLOCKTIME": "0",
    }


def test_the_revision_is_the_commit_and_says_if_files_were_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(("git", *identity, *words), capture_output=True, text=True, check=True).stdout.strip()

    assert isinstance(git_revision(), Absent)
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    git("tag", "-a", "v1", "-m", "v1")
    commit = git("rev-parse", "HEAD")
    assert git_revision() == commit
    (tmp_path / "file").write_text("two")
    assert git_revision() == f"{commit}-dirty"


def test_without_git_the_revision_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    missing = git_revision(run_command)
    assert isinstance(missing, Absent)
    assert missing.reason == "git is not installed"


def test_an_unknown_system_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="plan9"):
        this_system("plan9")


def test_nothing_here_imports_a_framework() -> None:
    code = (
        "import sys, assay.run.measure.environment as e, assay.run.measure.memory as m; e.machine(); e.load();"
        "m.MemoryMeter().read(); print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
