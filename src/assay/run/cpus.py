"""How many CPUs this process may use; it refuses nothing."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """CPUs that this process may be scheduled on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
