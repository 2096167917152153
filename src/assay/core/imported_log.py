"""What was read from a decision log in prose. It refuses to promote an entry to a decision: it measured nothing."""

from __future__ import annotations

from pydantic import Field

from assay.core.decisions import Status
from assay.core.records import Absent, Record, Versioned


class ImportedFigure(Record):
    """A number with its unit, where it stands."""

    line: int = Field(ge=1)
    value: float
    unit: str
    label: str
    """The words before it."""


class ImportedEntry(Record):
    """One heading with what stands under it."""

    line: int = Field(ge=1)
    title: str
    status: Status | Absent
    said: str
    """The status in the log's own words."""
    date: str | Absent
    figures: tuple[ImportedFigure, ...]
    trigger: bool
    """Whether its prose says what would reopen it."""


class ImportedProblem(Record):
    """What contradicts, does not add up, or is missing."""

    kind: str
    lines: tuple[int, ...] = Field(min_length=1)
    found: str


class ImportedLog(Versioned):
    """A log in Markdown, as entries and problems."""

    file: str
    entries: tuple[ImportedEntry, ...]
    problems: tuple[ImportedProblem, ...]
