"""Everything around a run that can change its numbers: the machine, its state before and after, versions, threads, git.

It refuses to guess: what the system does not tell is `Absent` with the reason. Nothing here imports a framework.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata

from assay.core.errors import UnsupportedError
from assay.core.records import Absent, Environment, Load, Machine, Text
from assay.run.measure.system import Command, CpuTimes, System, run_command

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "OMP_WAIT_POLICY",
    "OMP_DYNAMIC",
    "GOMP_CPU_AFFINITY",
    "GOMP_SPINCOUNT",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "MKL_NUM_THREADS",
    "MKL_DYNAMIC",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "TOKENIZERS_PARALLELISM",
    "MALLOC_ARENA_MAX",
    "LD_PRELOAD",
)
"""Environment variables that change how many threads compute, where, with which instructions and which allocator."""

PACKAGES = ("assay", "numpy", "torch", "safetensors", "tokenizers")
"""Distributions whose version is recorded where they are installed."""


def this_system(name: str = sys.platform) -> System:
    """The reader of this operating system.

    Raises:
        UnsupportedError: none is known.
    """
    if name == "linux":
        from assay.run.measure.system_linux import LinuxSystem

        return LinuxSystem()
    if name == "darwin":
        from assay.run.measure.system_macos import MacSystem

        return MacSystem()
    if name == "win32":
        from assay.run.measure.system_windows import WindowsSystem

        return WindowsSystem()
    raise UnsupportedError(
        "a description of this machine", f"the system is {name}", "Measure on Linux, macOS or Windows"
    )


def machine() -> Machine:
    """What does not change between runs on this machine."""
    return this_system().machine()


def cpu_times() -> CpuTimes | None:
    """CPU time since boot, to be given to a later `load`; None where the system does not tell of stolen time."""
    return this_system().cpu_times()


def load(since: CpuTimes | None = None) -> Load:
    """The state of the machine now.

    Args:
        since: what `cpu_times` said at an earlier moment; the stolen share is counted from there, otherwise from boot.
    """
    return this_system().load(since)


class LoadWatch:
    """The state of the machine at each call, with the stolen share of CPU time since the call before."""

    def __init__(self) -> None:
        self._mark = cpu_times()

    def __call__(self) -> Load:
        """The state now; stolen time counts from the last call, or from when the watch was made."""
        now = load(self._mark)
        self._mark = cpu_times()
        return now


def environment(
    before: Load,
    after: Load,
    threads: int,
    packages: Iterable[str] = PACKAGES,
    described: Machine | None = None,
) -> Environment:
    """The record of everything around a run.

    Args:
        before: the state before the workloads.
        after: the state after them.
        threads: threads that the runtime computes with.
        packages: distributions whose versions are recorded; those that are not installed are left out.
        described: this machine, where it was read already.
    """
    return Environment(
        machine=machine() if described is None else described,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=package_versions(packages),
        threads=threads,
        thread_settings=thread_settings(os.environ),
        git_revision=git_revision(),
        before=before,
        after=after,
    )


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Version of each distribution that is installed, without importing it."""
    versions: dict[str, str] = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def thread_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of `THREAD_VARIABLES` that are set."""
    return {name: variables[name] for name in THREAD_VARIABLES if name in variables}


def git_revision(command: Command = run_command) -> Text:
    """Commit of the working directory, 40 hexadecimal digits, with `-dirty` where tracked files were changed."""
    written = command(("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"))
    if isinstance(written, Absent):
        return written
    revision = written.strip()
    return revision or Absent(reason="git named no revision")
