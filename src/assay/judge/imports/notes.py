"""Reads plain notes, one configuration a line: `ComputeUnit.All = GPU 975, ANE 370, 283ms prediction, 940ms load`.

It refuses lines without two statements that it understands: prose is no measurement.
"""

from __future__ import annotations

import re

from assay.core.figures import Figure, FigureRow, FigureTable
from assay.core.records import Absent, Scalar
from assay.judge.imports import facts as stated
from assay.judge.imports.document import LIMIT_ROWS, Document
from assay.judge.imports.phrases import Statement, statement
from assay.judge.imports.vocabulary import EXPECTED, words_of

NAME = "notes"
_LINE = re.compile(r"^\s*(?:[-*+>#/]{1,4}\s+)?(?P<label>[^=:,]{1,80}?)\s*(?:=|:|->|=>|→)\s*(?P<items>[^=]{3,400})$")
_HEADING = re.compile(r"^\s*(?:#{1,6}\s+|\*\*)(.{1,120}?)\**:?\s*$")
_UNITS = re.compile(r"compute ?_?units?\.?(\w+)", re.IGNORECASE)


def recognises(document: Document) -> bool:
    """True where a line states two things of one configuration."""
    return not document.is_json and any(_parts(line) for line in document.lines()[:2000])


def read(document: Document) -> tuple[FigureTable, ...]:
    """One table, or one for each heading above such lines."""
    tables: list[FigureTable] = []
    title, lines, prose = document.stem, list[tuple[int, str]](), list[str]()
    for number, line in enumerate(document.lines(), 1):
        heading = _HEADING.match(line)
        if heading:
            tables += _table(document, title, lines, prose)
            title, lines, prose = heading[1], [], []
        elif _parts(line):
            lines.append((number, line))
        elif line.strip():
            prose.append(line)
    return (*tables, *_table(document, title, lines, prose))


def _parts(line: str) -> tuple[str, list[str]] | None:
    found = _LINE.match(line[:500])
    if not found:
        return None
    items = [item.strip() for item in re.split(r"[,;](?!\d)", found["items"]) if item.strip()]
    known = sum(statement(item) is not None for item in items)
    return (found["label"].strip(), items) if known >= 2 else None


def _table(document: Document, title: str, lines: list[tuple[int, str]], prose: list[str]) -> list[FigureTable]:
    if not lines:
        return []
    said = stated.prose_facts(prose)
    rows: list[FigureRow] = []
    figures: list[Figure] = []
    unread: list[str] = list(said.unclear)
    names: dict[str, int] = {}
    for number, line in lines[:LIMIT_ROWS]:
        parts = _parts(line)
        if parts is None:
            continue
        if EXPECTED.search(words_of(parts[0])):
            unread.append(f"line {number}: {parts[0]!r} holds expected values, which are not judged")
            continue
        label, items = parts
        units = _UNITS.fullmatch(label)
        label = units[1] if units else label
        names[label] = names.get(label, 0) + 1
        name = label if names[label] == 1 else f"{label} ({names[label]})"
        rows.append(FigureRow(name=name, facts=_facts(parts[0])))
        for item in items:
            found = statement(item)
            if found is None:
                unread.append(f"line {number}: {item[:40]!r} is not recognised")
            elif any(each.row == name and each.metric == found.metric for each in figures):
                unread.append(f"line {number}: a second {found.metric}")
            else:
                figures.append(_figure(name, found, number))
    if len(lines) > LIMIT_ROWS:
        unread.append(f"the lines after the first {LIMIT_ROWS:,}")
    recognised = dict.fromkeys(f"{figure.written}: {figure.metric}" for figure in figures[:12])
    return [
        FigureTable(
            title=title, source=document.name, rows=tuple(rows), figures=tuple(figures), facts=said.facts,
            hypotheses=said.hypotheses, unread=tuple(unread), recognised=tuple(recognised),
        )
    ]  # fmt: skip


def _facts(label: str) -> dict[str, Scalar]:
    units = _UNITS.search(label)
    return {**stated.label_facts(label), **({"compute_units": units[1]} if units else {})}


def _figure(row: str, found: Statement, line: int) -> Figure:
    return Figure(
        row=row, metric=found.metric, value=found.value,
        std=Absent(reason="no spread is given") if found.std is None else found.std,
        digits=found.digits, written=found.written, where=f"line {line}",
    )  # fmt: skip
