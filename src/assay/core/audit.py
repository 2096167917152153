"""The record of an audit: what was read of other people's results, and what is wrong with it. It computes nothing."""

from __future__ import annotations

from pydantic import Field

from assay.core.figures import FigureTable
from assay.core.records import Diagnosis, Finding, FrozenMap, Record, Scalar, Versioned


class AuditedFile(Record):
    """One file, and who read it."""

    name: str
    readers: tuple[str, ...] = ()
    """Names of the readers that found something; empty where none did."""
    refused: str = ""
    """Why it could not be read, and what to do; empty where it was."""


class AuditReport(Versioned):
    """Every table with its figures, every finding about them, and what was not read and not checked."""

    created_utc: str
    files: tuple[AuditedFile, ...]
    facts: FrozenMap[Scalar] = Field(default_factory=dict)
    """Of the set-up, as the user stated them."""
    tables: tuple[FigureTable, ...]
    findings: tuple[Finding, ...]
    """Errors first."""
    not_checked: tuple[str, ...]
    """`check: reason`, with the fact that would wake it."""
    diagnoses: tuple[Diagnosis, ...] = ()
    """Causes of the findings, those with facts for them first."""
    counts: FrozenMap[int]
    """`tables`, `expected_tables`, `rows`, `figures`; of those `invalid`, `suspect`, `sound`."""

    @property
    def exit_status(self) -> int:
        """1 where something is invalid, else 2 where a file could not be read, else 0."""
        return 1 if self.counts.get("invalid") else 2 if any(file.refused for file in self.files) else 0
