"""Reads thresholds from a TOML file. It refuses names that are no threshold, and values out of their range."""

from __future__ import annotations

from pathlib import Path

from assay.core.toml_file import read_record
from assay.judge.checks.policy import CheckPolicy


def read_policy(path: Path) -> CheckPolicy:
    """The policy of a file: the defaults, with what it says in their place.

    Raises:
        InputError: it cannot be read, is no TOML, or names what is no threshold.
    """
    return read_record(path, CheckPolicy, "policy", f"Thresholds: {', '.join(CheckPolicy.model_fields)}")
