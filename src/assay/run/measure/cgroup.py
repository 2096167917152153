"""Limits of the Linux control group of this process, versions 1 and 2. It takes no huge default for one."""

from __future__ import annotations

from pathlib import Path

from assay.core.records import Absent, Measured

_NO_LIMIT_BYTES = 1 << 60
"""Version 1 writes the largest page-aligned 63-bit number where there is no limit."""


class ControlGroup:
    """Reads the limits of the group of this process and of the groups above it; the smallest counts.

    Args:
        root: the root of the file system.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._mount = root / "sys/fs/cgroup"
        self._paths: dict[str, str] = {}
        try:
            lines = (root / "proc/self/cgroup").read_text().splitlines()
        except OSError:
            return
        for line in lines:
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                self._paths[controller] = path

    def cpus(self) -> Measured:
        """CPUs' worth of time that the group may use: quota / period."""
        shares: list[float] = []
        for folder in self._folders(""):
            words = _read(folder / "cpu.max").split()
            if len(words) == 2 and words[0] != "max":
                shares.append(int(words[0]) / int(words[1]))
        for folder in self._folders("cpu"):
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
            if quota and period and int(quota) > 0:
                shares.append(int(quota) / int(period))
        return min(shares) if shares else Absent(reason="no control group limits CPU time")

    def memory_bytes(self) -> Measured:
        """Memory that the group may use."""
        limits = [limit for limit, _ in self._memory_limits()]
        return float(min(limits)) if limits else Absent(reason="no control group limits memory")

    def free_memory_bytes(self) -> Measured:
        """Memory that the group may still take, under the tightest of its limits."""
        left = [limit - used for limit, used in self._memory_limits()]
        return float(max(0, min(left))) if left else Absent(reason="no control group limits memory")

    def _memory_limits(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for controller, limit_name, used_name in (
            ("", "memory.max", "memory.current"),
            ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            for folder in self._folders(controller):
                limit, used = _read(folder / limit_name), _read(folder / used_name)
                if limit.isdigit() and int(limit) < _NO_LIMIT_BYTES:
                    found.append((int(limit), int(used) if used.isdigit() else 0))
        return found

    def _folders(self, controller: str) -> list[Path]:
        """Folders of a controller's group (`""` is version 2) from its own up to the root; only those that exist."""
        if controller not in self._paths:
            return []
        parts = [part for part in self._paths[controller].split("/") if part not in ("", "..")]
        mounts = [self._mount / controller] if controller else [self._mount, self._mount / "unified"]
        return [
            folder
            for mount in mounts
            for depth in range(len(parts), -1, -1)
            if (folder := mount.joinpath(*parts[:depth])).is_dir()
        ]


def _read(path: Path) -> str:
    """The stripped text of a file; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
