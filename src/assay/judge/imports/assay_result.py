"""Reads a result that Assay wrote itself (`assay report --format json`). It refuses one of a newer format."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from assay.core.errors import CorruptFileError
from assay.core.figures import FigureTable
from assay.core.records import Result
from assay.judge.checks.base import Subject
from assay.judge.checks.tables import native_table
from assay.judge.imports.document import Document

NAME = "assay"
_KEYS = frozenset({"format_version", "study", "rows", "verdicts", "environment"})


def recognises(document: Document) -> bool:
    """True for the fields of a result."""
    return document.is_json and isinstance(document.json, Mapping) and set(document.json) >= _KEYS


def read(document: Document) -> tuple[FigureTable, ...]:
    """The figures of the result's table.

    Raises:
        CorruptFileError: it is damaged or of a newer format.
    """
    try:
        result = Result.from_json(document.text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CorruptFileError(
            f"The result {document.name!r} was to be read",
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            "Write it again with `assay report --format json`, with this or an older Assay",
        ) from None
    subject = Subject(
        rows=result.rows, rounds=(), quality=result.quality, comparisons=result.comparisons,
        null_estimates=result.null_estimates, environment=result.environment, source=result.model,
    )  # fmt: skip
    table = native_table(subject)
    return (
        table.model_copy(
            update={
                "title": result.name, "source": document.name,
                "recognised": ("a result of Assay; its samples are in the store and not in this file",),
            }
        ),
    )  # fmt: skip
