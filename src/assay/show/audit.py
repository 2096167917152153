"""An audit for a terminal, Markdown or JSON: worst first, every finding with rows, figures, cause and remedy.

It computes no number, and refuses to leave a finding out: what does not fit a screen in full is there on one line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from assay.core.audit import AuditReport
from assay.core.errors import InputError
from assay.core.figures import FigureTable, labels
from assay.core.records import Cell
from assay.show import format as shown
from assay.show.audit_view import (
    Told,
    fact_words,
    header_of,
    headline,
    marks_of,
    metrics_of,
    number_of,
    recognised_lines,
    silent_lines,
    told,
    unread_lines,
)
from assay.show.html.audit import render_audit_html
from assay.show.markdown import escape
from assay.show.sentences import cause_lines

AUDIT_FORMATS = ("table", "json", "markdown", "html")
WIDTH = 80
HEIGHT = 50
_COLOURS = {"ERR": "\x1b[1;31m", "WARN": "\x1b[33m", "INFO": "\x1b[36m"}
_RESET = "\x1b[0m"
_UNREAD_SHOWN = 3
_WAKERS_SHOWN = 4
_CAUSES_SHOWN = 2
_CAUSE_LINES = 4


def render_audit(report: AuditReport, format_: str, *, colour: bool = False) -> str:
    """The audit in one of `AUDIT_FORMATS`.

    Raises:
        InputError: there is no such format.
    """
    match format_:
        case "table":
            return "\n".join(_screen(report, colour)) + "\n"
        case "json":
            return report.model_dump_json(indent=2) + "\n"
        case "markdown":
            return _markdown(report)
        case "html":
            return render_audit_html(report)
    raise InputError(f"The format {format_!r} was asked for", "an audit has none", f"Use {', '.join(AUDIT_FORMATS)}")


# ------------------------------------------------------------------------------------------------- the terminal


def _screen(report: AuditReport, colour: bool) -> list[str]:
    head = _wrapped(headline(report), "")
    foot = _foot(report)
    groups = told(report.findings)
    if not groups:
        return [*head, "", "Nothing was found. What was not checked stands below.", *foot]
    room = HEIGHT - len(head) - len(foot) - 2
    lines, in_full = _within(room, groups)
    if in_full < len(groups):
        lines.append(f"{len(groups) - in_full} of these are shortened; in full: --format markdown or html.")
    return [*head, "", *(_coloured(line) if colour else line for line in lines), *foot]


def _within(room: int, groups: Sequence[Told]) -> tuple[list[str], int]:
    """Lines of all findings, as full as there is room for, and how many are in full: errors first, then in order."""
    forms = [(_short(g, n), _brief(g, n), _block(g, n)) for n, g in enumerate(groups, 1)]
    level = [0] * len(forms)
    used = len(forms) + 1
    for wanted, errors_only in ((2, True), (1, False), (2, False)):
        for place, form in enumerate(forms):
            more = len(form[wanted]) - len(form[level[place]])
            right = not errors_only or groups[place].severity == "ERR"
            if right and level[place] < wanted and used + more <= room:
                level[place] = wanted
                used += more
    return [line for form, at in zip(forms, level, strict=True) for line in form[at]], level.count(2)


def _block(group: Told, number: int) -> list[str]:
    said = "; ".join(group.summaries)
    lines = _wrapped(f"{group.severity:4} [{number}] {said}", " " * 5)
    lines += _wrapped(f"     cause: {group.cause}", " " * 12)
    return lines + _wrapped(f"     do: {group.remedy}. ({group.check})", " " * 9)


def _brief(group: Told, number: int) -> list[str]:
    """What and what to do, on a line each."""
    return [*_short(group, number), _line(f"     do: {group.remedy}.")]


def _short(group: Told, number: int) -> list[str]:
    return [_line(f"{group.severity:4} [{number}] {'; '.join(group.summaries)} ({group.check})")]


def _foot(report: AuditReport) -> list[str]:
    lines: list[str] = []
    causes = cause_lines(report.diagnoses)
    if causes:
        more = f" (the first {_CAUSES_SHOWN} of {len(causes)})" if len(causes) > _CAUSES_SHOWN else ""
        lines += ["", f"Causes{more}:"]
        lines += [line for cause in causes[:_CAUSES_SHOWN] for line in _clipped(cause)]
    unread = unread_lines(report)
    if unread:
        more = f" (the first {_UNREAD_SHOWN} of {len(unread)})" if len(unread) > _UNREAD_SHOWN else ""
        lines += ["", f"Not recognised{more}; a map (--map) can name it:"]
        lines += [_line(f"  {line}") for line in unread[:_UNREAD_SHOWN]]
    silent = silent_lines(report)
    if silent:
        more = f" (the first {_WAKERS_SHOWN} of {len(silent)})" if len(silent) > _WAKERS_SHOWN else ""
        lines += ["", f"Not checked{more}:"]
        lines += [_line(f"  {reason}: {', '.join(checks)}") for reason, checks in silent[:_WAKERS_SHOWN]]
    return lines


def _clipped(cause: str) -> list[str]:
    """A cause on four lines at most; the other formats have it in full."""
    lines = _wrapped(f"  {cause}", "    ")
    return (
        lines if len(lines) <= _CAUSE_LINES else [*lines[: _CAUSE_LINES - 1], _line(f"{lines[_CAUSE_LINES - 1]} ...")]
    )


def _line(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 4].rstrip()} ..."


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _coloured(line: str) -> str:
    word = line[:4].strip()
    return f"{_COLOURS[word]}{line[:4]}{_RESET}{line[4:]}" if word in _COLOURS else line


# ------------------------------------------------------------------------------------------------- Markdown


def _markdown(report: AuditReport) -> str:
    parts = [f"# Audit\n\n{escape(headline(report))}\n"]
    groups = told(report.findings)
    parts.append("## Findings\n")
    parts += [_finding(group, number) for number, group in enumerate(groups, 1)] or ["Nothing was found.\n"]
    marks = marks_of(report)
    parts.append(_list("Causes", cause_lines(report.diagnoses)))
    parts.append("\n## Tables\n")
    parts += [
        _table(table, label, marks) for table, label in zip(report.tables, labels(report.tables), strict=True)
    ]  # fmt: skip
    parts.append(_list("Recognised", (f"{name}: {line}" for name, line in recognised_lines(report) if line)))
    parts.append(_list("Not recognised", unread_lines(report)))
    parts.append(_list("Not checked", (f"{reason}: {', '.join(checks)}" for reason, checks in silent_lines(report))))
    return "\n".join(part for part in parts if part)


def _finding(group: Told, number: int) -> str:
    said = escape("; ".join(group.summaries))
    return (
        f'- <a id="finding-{number}"></a>**\\[{number}\\] {group.severity}** {said}. Cause: {escape(group.cause)}. '
        f"Remedy: {escape(group.remedy)}. Check: {escape(group.check)}"
    )


def _table(table: FigureTable, label: str, marks: dict[Cell, tuple[str, tuple[int, ...]]]) -> str:
    metrics = metrics_of(table)
    title = escape(table.title) + (" (expected values: not judged)" if table.expected else "")
    if not metrics:
        return f"### {title}\n\nNo figure was recognised.\n"
    lines = [["row", *(escape(header_of(metric)) for metric in metrics)], ["---"] * (len(metrics) + 1)]
    for row in table.rows:
        cells = [escape(row.name)]
        for metric in metrics:
            figure = table.figure(row.name, metric)
            text = escape(number_of(figure)) if figure else shown.MISSING
            severity, numbers = marks.get(Cell(row=row.name, metric=metric, table=label), ("", ()))
            struck = f"~~{text}~~" if severity == "ERR" else text
            marked = f" \\[{', '.join(f'[{n}](#finding-{n})' for n in numbers)}\\]" if numbers else ""
            cells.append(f"{struck}{marked}")
        lines.append(cells)
    facts = "; ".join(fact_words(table))
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"### {title}\n\n{f'{escape(facts)}.' if facts else ''}\n\n{body}\n"


def _list(title: str, lines: Iterable[str]) -> str:
    written = [f"- {escape(line)}" for line in lines]
    return f"## {title}\n\n" + "\n".join(written) + "\n" if written else ""
