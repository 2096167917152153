"""Rule 27: a variant that predicts better than its reference, or fewer bits better than more."""

from __future__ import annotations

from assay.core.metrics import METRICS
from assay.core.records import Estimate, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import DTYPE_FACTS, Entry, entries, row_entries, standard_error, varying
from assay.judge.checks.policy import CheckPolicy

NAME = "better_than_reference"
RULE = "27"
_METRICS = ("perplexity", "nll_nats", "accuracy")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare quality over precisions: losing bits may cost nothing, and never helps by more than two errors."""
    if subject.rows:
        return Answer(tuple(_ours(subject)))
    findings: list[Finding] = []
    for group in varying(row_entries(subject) or entries(subject), *DTYPE_FACTS):
        rows = [entry for entry in group if entry.weight_bits and entry.fact("qat") is not True]
        for metric in _METRICS:
            told = [each for entry in rows if (each := _better(entry, rows, metric, policy)) is not None]
            findings += told
    return Answer(tuple(findings))


def _better(entry: Entry, rows: list[Entry], metric: str, policy: CheckPolicy) -> Finding | None:
    value = entry.value(metric)
    if value is None or value <= 0:
        return None
    sign = 1.0 if METRICS[metric].better == "lower" else -1.0
    beaten = []
    for other in rows:
        theirs = other.value(metric)
        if theirs is None or (other.weight_bits or 0.0) <= (entry.weight_bits or 0.0):
            continue
        error = standard_error(entry.error(metric), other.error(metric))
        margin = 2 * error if error else policy.better_margin * abs(theirs)
        if sign * (theirs - value) > margin:
            beaten.append((sign * (theirs - value), other, theirs))
    if not beaten:
        return None
    _, other, theirs = max(beaten, key=lambda found: found[0])
    return Finding(
        check=NAME,
        severity="WARN",
        cells=(entry.cell(metric), other.cell(metric)),
        numbers={"value": value, "more_bits": theirs},
        summary=f"{entry.name} has {METRICS[metric].title} {value:.4g}, better than {other.name} with more bits, "
        f"{theirs:.4g}",
        cause="cause unknown; another text or window, exchanged labels, or a reference that lost precision itself",
        remedy="Score both on the same tokens, and compare token by token",
    )


def _ours(subject: Subject) -> list[Finding]:
    found = []
    for row in subject.rows:
        ratio = row.metrics.get("perplexity_ratio")
        if row.role in ("reference", "null") or not isinstance(ratio, Estimate) or ratio.high >= 1:
            continue
        found.append(
            Finding(
                check=NAME,
                severity="WARN",
                cells=(subject.cell(row.name, "perplexity_ratio"), subject.cell(row.name, "perplexity")),
                numbers={"ratio": ratio.value, "high": ratio.high},
                summary=f"{row.name} has {ratio.value:.5g} x the reference's perplexity [{ratio.low:.5g}, "
                f"{ratio.high:.5g}]: "
                "better than what it was made from",
                cause="cause unknown; on a short text a perturbation of the logits may fit it by chance",
                remedy="Score more tokens; judge by the KL divergence, which a lucky text does not lower",
            )
        )
    return found
