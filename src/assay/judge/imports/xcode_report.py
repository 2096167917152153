"""Reads what Xcode's Core ML performance report says, copied as text. It refuses reports without a prediction time.

Written after the report's fields; no report of a device that was here has been read.
"""

from __future__ import annotations

import re

from assay.core.figures import FigureTable
from assay.core.records import Scalar
from assay.judge.imports.builder import Builder
from assay.judge.imports.document import Document
from assay.judge.imports.phrases import statement

NAME = "xcode-report"
_MAPPING = re.compile(r"compute unit mapping|performance report", re.IGNORECASE)
_FACT = re.compile(r"^\s*(device|compute units?|model|macos|ios|os)\s*[:\t]\s*(.{1,100}?)\s*$", re.IGNORECASE)
_FACTS = {"device": "device", "compute unit": "compute_units", "compute units": "compute_units", "model": "model"}


def recognises(document: Document) -> bool:
    """True for the words of the report's head, outside of JSON and tables."""
    return not document.is_json and bool(_MAPPING.search(document.head)) and "|" not in document.head


def read(document: Document) -> tuple[FigureTable, ...]:
    """One row for each device and choice of compute units."""
    builder = Builder(document.stem, document.name)
    facts: dict[str, Scalar | None] = {}
    row: str | None = None
    seen: set[str] = set()
    lines = document.lines()
    for number, line in enumerate(lines[:5000], 1):
        fact = _FACT.match(line[:200])
        if fact:
            name = _FACTS.get(fact[1].casefold())
            if name and row is not None:
                row, seen = None, set()
            facts |= {name: fact[2]} if name else {}
            continue
        joined = _with_next(line, lines[number] if number < len(lines) else "")
        found = statement(joined)
        if found is None or found.metric in seen:
            continue
        if row is None:
            row = builder.row(", ".join(str(v) for v in facts.values() if v) or document.stem, facts)
        if row is None:
            break
        seen.add(found.metric)
        builder.figure(row, found.metric, found.value, where=f"line {number}")
        builder.recognised(f"{joined.strip()[:60]}: {found.metric}")
    return builder.build()


def _with_next(line: str, following: str) -> str:
    """A copied report puts a number on the line after its name."""
    name = line.strip()
    if (
        name
        and not any(letter.isdigit() for letter in name)
        and re.fullmatch(r"\s*[\d.,]+\s*\S{0,3}\s*", following[:40])
    ):
        return f"{name}: {following.strip()}"
    return name.replace("\t", " ")
