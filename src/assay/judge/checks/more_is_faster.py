"""Rule 9: more parameters, tokens or sequences, all else equal, and yet faster."""

from __future__ import annotations

import itertools

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import SHAPE_FACTS, Entry, entries, standard_error, varying
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import parameter_count

NAME = "more_is_faster"
RULE = "9"
_METRICS = ("forward_s", "backward_s", "train_step_s", "prefill_s", "ttft_s", "tpot_s", "end_to_end_s", "call_s")
_AXES: tuple[tuple[str, frozenset[str]], ...] = (
    ("parameters", SHAPE_FACTS),
    ("prompt_tokens", frozenset({"prompt_tokens"})),
    ("batch", frozenset({"batch"})),
)


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Order the rows that differ in one amount of work, and look for times that fall by more than their errors."""
    findings: list[Finding] = []
    found = entries(subject)
    for axis, facts in _AXES:
        for group in varying(found, *facts):
            amounts = [(amount, entry) for entry in group if (amount := _amount(entry, axis)) is not None]
            amounts.sort(key=lambda pair: pair[0])
            for metric in _METRICS:
                findings += _falls(axis, metric, amounts, policy)
    return Answer(tuple(findings))


def _amount(entry: Entry, axis: str) -> float | None:
    if axis != "parameters":
        return entry.amount(axis)
    shape = entry.shape
    return parameter_count(entry) or (None if shape is None else float(shape.parameters))


def _falls(axis: str, metric: str, amounts: list[tuple[float, Entry]], policy: CheckPolicy) -> list[Finding]:
    found: list[Finding] = []
    for (less, small), (more, large) in itertools.pairwise(amounts):
        ours, theirs = large.value(metric), small.value(metric)
        if ours is None or theirs is None or more <= less * policy.more_work or ours <= 0 or theirs <= 0:
            continue
        error = standard_error(large.error(metric), small.error(metric))
        if theirs - ours <= max(2 * error, policy.more_margin * theirs):
            continue
        found.append(
            Finding(
                check=NAME,
                severity="WARN",
                cells=(large.cell(metric), small.cell(metric)),
                numbers={"more": more, "less": less, "more_s": ours, "less_s": theirs, "error_s": error},
                summary=f"{large.name} has {more / less:.3g} x the {axis.replace('_', ' ')} of {small.name} and takes "
                f"{ours:.4g} s against {theirs:.4g} s ({metric})",
                cause="cause unknown; exchanged labels, another effective size or a cold smaller row do this",
                remedy="Measure both rows again in one process, in turns",
            )
        )
    return found
