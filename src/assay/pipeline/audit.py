"""An audit of files: who reads them, what they say, what is wrong with it. It refuses files that say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from assay import catalog
from assay.core.audit import AuditedFile, AuditReport
from assay.core.errors import AssayError, InputError
from assay.core.figures import FigureTable
from assay.core.records import Scalar
from assay.judge.audit import audit_tables
from assay.judge.checks.policy import CheckPolicy
from assay.judge.imports.correction import NOTHING, Correction
from assay.judge.imports.document import LIMIT_BYTES, Document, Grid, document
from assay.judge.imports.phrases import with_placement
from assay.judge.imports.recogniser import recognise

_ALSO = frozenset({"markdown"})
"""After these the notes of the same text are read too: a page holds tables and notes."""


def audit(
    sources: Sequence[tuple[str, bytes] | Path],
    facts: Mapping[str, Scalar] | None = None,
    correction: Correction = NOTHING,
    policy: CheckPolicy | None = None,
) -> AuditReport:
    """Read files, recognise their figures, and lay every check on them.

    Args:
        sources: paths, or names with their content.
        facts: of the set-up; they stand above those that were read beside a table, and below those of a row.
        correction: the user's map of columns.
        policy: thresholds; the defaults where None.

    Raises:
        InputError: nothing of any file could be read; where only some could not, the report says so.
    """
    files: list[AuditedFile] = []
    tables: list[FigureTable] = []
    refused: list[AssayError] = []
    for source in sources:
        name = source.name if isinstance(source, Path) else source[0]
        try:
            content = _content(source) if isinstance(source, Path) else source[1]
            readers, found = read(document(name, content), correction)
        except AssayError as error:
            refused.append(error)
            files.append(AuditedFile(name=name, refused=str(error)))
            continue
        files.append(AuditedFile(name=name, readers=readers))
        tables += found
    if not tables and refused:
        raise refused[0]
    judged = audit_tables(tables, facts, policy)
    return AuditReport(
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        files=tuple(files),
        facts=dict(facts or {}),
        tables=tuple(tables),
        findings=judged.findings,
        not_checked=judged.not_checked,
        diagnoses=judged.diagnoses,
        counts=dict(judged.counts),
    )


def read(source: Document, correction: Correction = NOTHING) -> tuple[tuple[str, ...], list[FigureTable]]:
    """The readers that recognised a document, and its tables.

    Raises:
        InputError: none recognised it, or nothing in it is a figure.
    """
    names: list[str] = []
    tables: list[FigureTable] = []
    for reader in catalog.readers():
        if names and (names[0] not in _ALSO or reader.NAME != "notes"):
            continue
        if not reader.recognises(source):
            continue
        found = [
            table
            for reading in reader.read(source)
            for table in (recognise(reading, source.name, correction) if isinstance(reading, Grid) else (reading,))
        ]
        tables += [with_placement(table) for table in found]
        if any(map(_says_something, found)):
            names.append(reader.NAME)
    if not names:
        unread = [f"{table.title}: {line}" for table in tables for line in table.unread]
        raise InputError(
            f"Results in {source.name!r} were to be audited",
            "no figure was recognised" + (f" ({'; '.join(unread[:4])})" if unread else ""),
            "Name units and columns (--unit ms, or a map: see docs/audit.md), or give a table with a header line",
        )
    return tuple(names), tables


def _says_something(table: FigureTable) -> bool:
    return bool(table.figures or table.ratios)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"The file {str(path)!r} was to be audited", str(error.strerror), "Name a file that can be read"
        ) from None
