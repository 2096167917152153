"""An audit as it is shown: findings together, marks of cells, what was not read. It computes no number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.core.audit import AuditReport
from assay.core.figures import Figure, FigureTable, labels
from assay.core.records import Absent, Cell, Finding
from assay.show import format as shown


@dataclass(frozen=True)
class Told:
    """Findings of one check with one cause and one remedy, told together."""

    check: str
    severity: str
    summaries: tuple[str, ...]
    cells: tuple[Cell, ...]
    cause: str
    remedy: str


def told(findings: Sequence[Finding]) -> tuple[Told, ...]:
    """Findings in their order, those that share check, cause and remedy as one."""
    groups: dict[tuple[str, str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.check, finding.cause, finding.remedy), []).append(finding)
    return tuple(
        Told(
            check=check,
            severity=severity,
            summaries=_summaries(group),
            cells=tuple(dict.fromkeys(cell for each in group for cell in each.cells)),
            cause=shown.one_line(cause),
            remedy=shown.one_line(remedy),
        )
        for (severity, check, cause, remedy), group in groups.items()
    )


def _summaries(group: Sequence[Finding]) -> tuple[str, ...]:
    """What was found; what holds of several rows word for word is said once, with their names before it."""
    rows: dict[str, list[str]] = {}
    for finding in group:
        summary = shown.one_line(finding.summary)
        name = next((n for n in _names(finding) if summary.startswith(f"{n}: ")), "")
        rows.setdefault(summary.removeprefix(f"{name}: ") if name else summary, []).append(name)
    return tuple(
        f"{', '.join(dict.fromkeys(filter(None, names)))}: {rest}" if any(names) else rest
        for rest, names in rows.items()
    )


def _names(finding: Finding) -> list[str]:
    """How a summary may begin with the row that it is about, the longest first."""
    return [
        name
        for cell in finding.cells
        for name in (f"{shown.one_line(cell.row)} ({shown.one_line(cell.table)})", shown.one_line(cell.row))
    ]


def headline(report: AuditReport) -> str:
    """`20 rows, 84 figures: 5 invalid, 7 suspect, 72 without a finding.`"""
    counts = report.counts
    files = ", ".join(shown.one_line(file.name) for file in report.files if not file.refused)
    tables = f"{counts.get('tables', 0)} table{'' if counts.get('tables') == 1 else 's'}"
    expected = counts.get("expected_tables", 0)
    apart = f" (and {expected} of expected values, not judged)" if expected else ""
    return (
        f"{files}: {tables}{apart}, {counts.get('rows', 0)} rows, {counts.get('figures', 0)} figures: "
        f"{counts.get('invalid', 0)} invalid, {counts.get('suspect', 0)} suspect, "
        f"{counts.get('sound', 0)} without a finding."
    )


def unread_lines(report: AuditReport) -> tuple[str, ...]:
    """What was not recognised, each with its table, and files that could not be read."""
    lines = [f"{shown.one_line(file.name)}: {shown.one_line(file.refused)}" for file in report.files if file.refused]
    several = len(report.tables) > 1
    for table in report.tables:
        place = f"{shown.one_line(table.title)}: " if several else ""
        lines += [f"{place}{shown.one_line(line)}" for line in table.unread]
    return tuple(lines)


def recognised_lines(report: AuditReport) -> tuple[tuple[str, str], ...]:
    """By table: what its columns were read as, and the facts beside it."""
    return tuple(
        (label or shown.one_line(table.title), shown.one_line("; ".join((*table.recognised, *fact_words(table)))))
        for table, label in zip(report.tables, labels(report.tables), strict=True)
    )


def silent_lines(report: AuditReport) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What is absent, with the checks that it would wake; what is absent of many rows is one line."""
    checks: dict[str, list[str]] = {}
    rows: dict[str, set[str]] = {}
    places = _places(report)
    for line in report.not_checked:
        check, _, reason = shown.one_line(line).partition(": ")
        place = next((place for place in places if place in reason), "")
        reason = reason.replace(place, "") if place else reason
        named = checks.setdefault(reason, [])
        if check not in named:
            named.append(check)
        rows.setdefault(reason, set()).add(place)
    ranked = sorted(checks.items(), key=lambda item: (-len(item[1]), -len(rows[item[0]])))
    return tuple(
        (f"{reason} [{len(rows[reason])} rows]" if len(rows[reason]) > 1 else reason, tuple(named))
        for reason, named in ranked
    )


def _places(report: AuditReport) -> list[str]:
    """How reasons name a row, the longest first: ` of S (No warm-up)`, ` of S`."""
    found: set[str] = set()
    for table, label in zip(report.tables, labels(report.tables), strict=True):
        for row in table.rows:
            name = shown.one_line(row.name)
            found |= {f" of {name}", f" of {name} ({shown.one_line(label)})"}
    return sorted(found, key=len, reverse=True)


def marks_of(report: AuditReport) -> dict[Cell, tuple[str, tuple[int, ...]]]:
    """By cell: the worst severity, and the numbers of the findings about it."""
    order = ("ERR", "WARN", "INFO")
    marks: dict[Cell, tuple[str, tuple[int, ...]]] = {}
    for number, group in enumerate(told(report.findings), 1):
        for cell in group.cells:
            severity, numbers = marks.get(cell, (group.severity, ()))
            worst = min(severity, group.severity, key=order.index)
            marks[cell] = (worst, (*numbers, number))
    return marks


def number_of(figure: Figure) -> str:
    """A figure with its spread, in the unit of its column's header and to the digits that its source wrote."""
    spread = "" if isinstance(figure.std, Absent) else f" ± {shown.number(figure.metric, figure.std)}"
    if not figure.digits:
        return f"{shown.number(figure.metric, figure.value)}{spread}"
    scaled = figure.value * shown.scale_of(figure.metric).factor
    return f"{shown.significant(scaled, figure.digits)}{spread}"


def metrics_of(table: FigureTable) -> tuple[str, ...]:
    """The metrics of a table in the order in which they first stand."""
    return tuple(dict.fromkeys(figure.metric for figure in table.figures))


def header_of(metric: str) -> str:
    """Title and unit of a metric's column."""
    unit = shown.scale_of(metric).unit
    return f"{shown.title_of(metric)}{f' ({unit})' if unit else ''}"


def fact_words(table: FigureTable) -> list[str]:
    """The facts beside a table, and its hypotheses as such."""
    words = [f"{name} {value}" for name, value in table.facts.items()]
    return words + [
        f"perhaps {name} {value} (a guess of the text, which no check uses)" for name, value in table.hypotheses.items()
    ]
