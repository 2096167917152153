"""Rule 15: rows that agree to all digits, or two labels behind which one configuration ran."""

from __future__ import annotations

from assay.core.metrics import METRICS
from assay.core.records import Absent, Cell, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries
from assay.judge.checks.policy import CheckPolicy

NAME = "copied_rows"
RULE = "15"
_SCATTERS = frozenset({"s", "tok/s", "1/s", "J", "W", "FLOP/s"})
"""Units of what no two measurements give alike to all digits."""


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare all measured figures of rows pairwise, and the artifacts and targets of a study's rows."""
    findings: list[Finding] = []
    found = [entry for entry in entries(subject) if entry.text("role") != "null"]
    clusters: list[list[Entry]] = []
    for entry in found:
        alike = next((c for c in clusters if _identical(c[0], entry, policy)), None)
        if alike is None:
            clusters.append([entry])
        else:
            alike.append(entry)
    findings += [_finding(cluster) for cluster in clusters if len(cluster) > 1]
    return Answer((*findings, *_same_configuration(subject)))


def _measured(entry: Entry) -> dict[str, tuple[float, float]]:
    found = {}
    for figure in entry.figures():
        metric = figure.metric.partition("@")[0]
        if metric in METRICS and METRICS[metric].unit in _SCATTERS:
            found[metric] = (figure.value, entry.std(metric) or 0.0)
    return found


def _shared(first: Entry, second: Entry) -> list[str]:
    return sorted(set(_measured(first)) & set(_measured(second)))


def _identical(first: Entry, second: Entry, policy: CheckPolicy) -> bool:
    if first.row.name == second.row.name or first.label != second.label:
        return False
    ours, theirs, shared = _measured(first), _measured(second), _shared(first, second)
    figures = sum(1 + (ours[metric][1] > 0) for metric in shared)
    return figures >= policy.copied_figures and all(ours[metric] == theirs[metric] for metric in shared)


def _finding(cluster: list[Entry]) -> Finding:
    shared = _shared(*cluster[:2])
    return Finding(
        check=NAME,
        severity="WARN",
        cells=tuple(cell for entry in cluster for cell in entry.cells(*shared)),
        numbers={metric: _measured(cluster[0])[metric][0] for metric in shared},
        summary=f"{', '.join(entry.name for entry in cluster)} agree to all digits in {', '.join(shared)}",
        cause="a row was copied, or the same file or setting ran twice; which of the two is not recorded",
        remedy="Measure them again, and record what each really ran",
    )


def _same_configuration(subject: Subject) -> list[Finding]:
    rows = [row for row in subject.rows if row.role != "null" and not isinstance(row.artifact, Absent)]
    ran: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        run = next((run for run in subject.runs() if run.variant == row.name), None)
        if run is not None and not isinstance(row.artifact, Absent):
            key = (row.artifact.digest, run.target.content_digest, run.decoding.content_digest)
            ran.setdefault(key, []).append(row.name)
    return [
        Finding(
            check=NAME,
            severity="WARN",
            cells=tuple(Cell(row=name, metric=metric) for name in names for metric in _timed_cells(subject, name)),
            summary=f"{' and '.join(names)} are one configuration: the same artifact, target and decoding",
            cause="two names in the study lead to the same recipe",
            remedy="Take one of them out; the hidden A/A variant measures the noise already",
        )
        for names in ran.values()
        if len(names) > 1
    ]


def _timed_cells(subject: Subject, name: str) -> list[str]:
    row = subject.row(name)
    found = [key for key in row.metrics if key.partition("@")[0].endswith("tok_per_s")] if row is not None else []
    return found or ["load_s"]
