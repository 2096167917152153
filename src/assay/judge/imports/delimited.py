"""Reads CSV and TSV, with commas, semicolons or tabs. It refuses text whose lines do not split alike."""

from __future__ import annotations

import csv
import io
from collections import Counter

from assay.core.errors import CorruptFileError
from assay.judge.imports.document import LIMIT_CELL, LIMIT_COLUMNS, LIMIT_ROWS, Cell, Document, Grid, cells

NAME = "delimited"
_DELIMITERS = ("\t", ";", ",")


def recognises(document: Document) -> bool:
    """True by the name, or where the first lines split alike into two or more."""
    return document.suffix in (".csv", ".tsv") or _delimiter(document) is not None


def read(document: Document) -> tuple[Grid, ...]:
    """The one table of the file; lines before the header that begin with # are prose.

    Raises:
        CorruptFileError: the file is no table.
    """
    delimiter = _delimiter(document)
    if delimiter is None:
        raise CorruptFileError(
            f"The file {document.name!r} was to be read as CSV", "its lines do not split alike",
            "Give a header line, and the same separator on every line",
        )  # fmt: skip
    lines = document.text.splitlines(keepends=True)
    comments = [line.lstrip("# ").strip() for line in lines if line.startswith("#")]
    reader = csv.reader(
        io.StringIO("".join(line if not line.startswith("#") else "\n" for line in lines)), delimiter=delimiter
    )
    rows: list[tuple[Cell, ...]] = []
    unread: list[str] = []
    try:
        for row in reader:
            if len(rows) > LIMIT_ROWS + 1:
                unread.append(f"the rows after the first {LIMIT_ROWS:,}")
                break
            if any(text.strip() for text in row):
                rows.append(cells([text[:LIMIT_CELL] for text in row[:LIMIT_COLUMNS]], reader.line_num))
    except csv.Error as error:
        raise document.corrupt(str(error)) from None
    if len(rows) < 2:
        return ()
    return (
        Grid(
            document.stem, rows[0], tuple(rows[1:]), prose=tuple(comments), unread=tuple(unread), notes=document.notes
        ),
    )


def _delimiter(document: Document) -> str | None:
    lines = [line for line in document.text[:65536].splitlines()[:40] if line.strip() and not line.startswith("#")]
    if len(lines) < 2:
        return None
    for delimiter in _DELIMITERS:
        counts = Counter(line.count(delimiter) for line in lines)
        most, how_many = counts.most_common(1)[0]
        alike = document.suffix in (".csv", ".tsv") or how_many >= 0.8 * len(lines)
        if most >= 1 and lines[0].count(delimiter) >= 1 and alike:
            return delimiter
    return None
