"""Rule 15: a printed speed-up that the table's own figures do not give."""

from __future__ import annotations

from assay.core.figures import FigureTable, PrintedRatio
from assay.core.metrics import METRICS
from assay.core.records import Absent, Cell, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import measured_tables
from assay.judge.checks.policy import CheckPolicy

NAME = "printed_ratio"
RULE = "15"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compute each printed ratio anew, against the row that it names or against any row where it names none."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for table, label in measured_tables(subject):
        for ratio in table.ratios:
            candidates = _recomputed(table, ratio)
            if not candidates:
                unseen[
                    f"no figures of {ratio.metric} from which the printed {ratio.value:g} x of {ratio.row} follows"
                ] = None
                continue
            slack = policy.printed_ratio + (0.5 * 10.0 ** (1 - ratio.digits) if ratio.digits else 0.0)
            nearest = min(candidates, key=lambda pair: abs(pair[1] / ratio.value - 1))
            if abs(nearest[1] / ratio.value - 1) > slack:
                findings.append(_finding(label, ratio, *nearest))
    return Answer(tuple(findings), tuple(unseen))


def _recomputed(table: FigureTable, ratio: PrintedRatio) -> list[tuple[str, float]]:
    ours = table.figure(ratio.row, ratio.metric)
    if ours is None or ours.value <= 0 or ratio.value <= 0:
        return []
    rows = [row.name for row in table.rows] if isinstance(ratio.against, Absent) else [ratio.against]
    lower = ratio.metric.partition("@")[0] in METRICS and METRICS[ratio.metric.partition("@")[0]].better == "lower"
    found: list[tuple[str, float]] = []
    for name in rows:
        theirs = table.figure(name, ratio.metric)
        if theirs is None or theirs.value <= 0 or (name == ratio.row and isinstance(ratio.against, Absent)):
            continue
        found.append((name, theirs.value / ours.value if lower else ours.value / theirs.value))
    return found


def _finding(label: str, ratio: PrintedRatio, against: str, computed: float) -> Finding:
    nearest = (
        ""
        if not isinstance(ratio.against, Absent)
        else "; no row of the table gives what is printed, the nearest is this"
    )
    return Finding(
        check=NAME,
        severity="WARN",
        cells=(Cell(row=ratio.row, metric=ratio.metric, table=label),),
        numbers={"printed": ratio.value, "computed": computed},
        summary=f"{ratio.row} is printed as {ratio.value:g} x; its own {ratio.metric} against {against} gives "
        f"{computed:.4g} x{nearest}",
        cause="the ratio is of other figures: another run, another metric, or another baseline",
        remedy="Compute ratios from the figures that are shown, and name the row that each is against",
    )
