"""Reads Markdown: every pipe table with its headings and the prose beside it. It refuses tables without a rule.

A table in a code block is a table too: so tools print theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from assay.judge.imports.document import LIMIT_ROWS, LIMIT_TABLES, Cell, Document, Grid
from assay.judge.imports.numbers import plain

NAME = "markdown"
_HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_RULE = re.compile(r"^\s*\|?\s*:?-{1,200}:?\s*(\|\s*:?-{1,200}:?\s*){0,250}\|?\s*$")
_BOLD_LINE = re.compile(r"^\s*\*\*(.{1,120}?)\*\*:?\s*$")


def recognises(document: Document) -> bool:
    """True where some line is the rule under a table's header, or the name says so and a line has a pipe."""
    return any("|" in line and "-" in line and _RULE.match(line) for line in document.lines())


def read(document: Document) -> tuple[Grid, ...]:
    """Every table, in order."""
    return tuple(_Walk(document).grids())


@dataclass
class _Section:
    level: int
    heading: str
    paragraphs: list[str] = field(default_factory=list)


class _Walk:
    """The lines of a document with the headings above them."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._lines = document.lines()
        self._sections = [_Section(0, "")]

    def grids(self) -> Iterator[Grid]:
        place = count = 0
        while place < len(self._lines) and count < LIMIT_TABLES:
            line = self._lines[place]
            heading = _HEADING.match(line)
            if heading:
                self._enter(len(heading[1]), plain(heading[2]).rstrip(":"))
            elif self._is_table(place):
                end = self._end_of_table(place)
                yield self._grid(place, end)
                count += 1
                place = end
                continue
            elif _BOLD_LINE.match(line):
                self._enter(7, plain(_BOLD_LINE.sub(r"\1", line)))
            elif line.strip() and not line.lstrip().startswith("```"):
                self._sections[-1].paragraphs.append(line.strip())
            place += 1

    def _enter(self, level: int, heading: str) -> None:
        while self._sections[-1].level >= level:
            self._sections.pop()
        self._sections.append(_Section(level, heading))

    def _is_table(self, place: int) -> bool:
        return (
            "|" in self._lines[place]
            and place + 1 < len(self._lines)
            and "|" in self._lines[place + 1]
            and bool(_RULE.match(self._lines[place + 1]))
        )

    def _end_of_table(self, place: int) -> int:
        end = place + 2
        while end < len(self._lines) and "|" in self._lines[end] and self._lines[end].strip():
            end += 1
        return end

    def _grid(self, start: int, end: int) -> Grid:
        header = _cells(self._lines[start], start + 1)
        last = min(end, start + 2 + LIMIT_ROWS)
        rows = [_cells(self._lines[place], place + 1) for place in range(start + 2, last)]
        rows = [
            row for row in rows if any(cell.text for cell in row) and not _RULE.match("|".join(c.text for c in row))
        ]
        unread = [
            f"line {row[0].line}: {len(row) - len(header)} cells more than the header has"
            for row in rows if len(row) > len(header) and any(cell.text for cell in row[len(header):])
        ]  # fmt: skip
        if last < end:
            unread.append(f"the rows after the first {LIMIT_ROWS:,} of {end - start - 2:,}")
        headings = tuple(section.heading for section in self._sections if section.heading)
        before = [paragraph for section in self._sections for paragraph in section.paragraphs]
        return Grid(
            title=headings[-1] if headings else self._document.stem,
            header=header,
            rows=tuple(row[: len(header)] for row in rows),
            headings=headings,
            prose=(*before, *self._after(end)),
            unread=tuple(unread),
            notes=self._document.notes,
        )

    def _after(self, place: int) -> list[str]:
        """Paragraphs between a table and the next heading; none where another table follows in between."""
        found: list[str] = []
        while place < len(self._lines):
            if _HEADING.match(self._lines[place]) or _BOLD_LINE.match(self._lines[place]):
                break
            if self._is_table(place):
                return []
            if self._lines[place].strip():
                found.append(self._lines[place].strip())
            if len(found) > 50:
                break
            place += 1
        return found


def _cells(line: str, number: int) -> tuple[Cell, ...]:
    text = line.strip()
    parts = re.split(r"(?<!\\)\|", text)
    if text.startswith("|"):
        parts = parts[1:]
    if parts and not parts[-1].strip() and text.endswith("|"):
        parts = parts[:-1]
    return tuple(Cell(part.replace("\\|", "|").strip(), number, at) for at, part in enumerate(parts, 1))
