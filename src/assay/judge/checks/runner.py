"""Lays every check on a judged study. It refuses to hide a check that could not look: it says which fact was absent."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.tables import with_tables

CHECKS = (
    "non_positive_time",
    "impossible_spread",
    "broken_model",
    "parity",
    "expected_perplexity",
    "classifier",
    "conversion_absent",
    "saturated",
    "degenerate_text",
    "unproven_comparator",
    "cache_equality",
    "energy",
    "weight_size",
    "contracts",
    "throughput_latency",
    "above_peak",
    "above_bandwidth",
    "hardware_contradiction",
    "phase_sum",
    "unsynchronised",
    "first_sample",
    "prefix_cached",
    "cold_call",
    "contention",
    "replicates",
    "copied_rows",
    "unit_slip",
    "printed_ratio",
    "compute_units",
    "placement",
    "drift",
    "dependent_rounds",
    "noise",
    "printed_noise",
    "backward_ratio",
    "more_is_faster",
    "overhead_bound",
    "constant_residual",
    "compile_absent",
    "better_than_reference",
    "calibration",
    "conversion_space",
    "speculation",
    "slower_precision",
    "speedup_bound",
    "source_quantised",
    "palettes_expanded",
    "layer_drop",
)
"""Modules of this package, in the order in which their findings are told."""

_ORDER = {"ERR": 0, "WARN": 1, "INFO": 2}


class Check(Protocol):
    """What a check's module holds."""

    NAME: str
    RULE: str

    def check(self, subject: Subject, policy: CheckPolicy) -> Answer:
        """Look at the subject."""


def load_check(name: str) -> Check:
    """The module of a check."""
    return cast(Check, importlib.import_module(f"assay.judge.checks.{name}"))


def run_checks(
    subject: Subject, policy: CheckPolicy | None = None, names: Sequence[str] = CHECKS
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Findings, errors first, and what was not checked, each with the absent fact.

    Args:
        subject: what was measured: a study, whose figures are made here, or another tool's figures.
        policy: thresholds; the defaults where None.
        names: modules of the checks to run; all of them by default.
    """
    thresholds = policy or CheckPolicy()
    subject = with_tables(subject)
    findings: list[Finding] = []
    not_checked: list[str] = []
    for name in names:
        module = load_check(name)
        answer = module.check(subject, thresholds)
        findings += answer.findings
        not_checked += [f"{module.NAME}: {reason}" for reason in answer.not_checked]
    findings.sort(key=lambda finding: _ORDER[finding.severity])
    return tuple(findings), tuple(dict.fromkeys(not_checked))
