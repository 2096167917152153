"""Reads any other JSON that is a table: a list of flat objects, or objects by name. It refuses deeper nests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from assay.judge.imports.document import LIMIT_ROWS, LIMIT_TABLES, Cell, Document, Grid

NAME = "json"
_DEPTH = 3


def recognises(document: Document) -> bool:
    """True for all JSON: this reader is asked last."""
    return document.is_json


def read(document: Document) -> tuple[Grid, ...]:
    """Every table found in it."""
    return tuple(
        grid for grid, _ in zip(_grids(document.json, document.stem, document, 0), range(LIMIT_TABLES), strict=False)
    )


def _grids(content: Any, title: str, document: Document, depth: int) -> Iterator[Grid]:
    if isinstance(content, list):
        entries = [entry for entry in content[: LIMIT_ROWS + 1] if isinstance(entry, Mapping)]
        if entries:
            yield _grid(title, [("", entry) for entry in entries], document)
    elif isinstance(content, Mapping):
        inner = [(str(key)[:100], value) for key, value in list(content.items())[:LIMIT_ROWS]]
        rows = [(key, value) for key, value in inner if isinstance(value, Mapping)]
        flat = {key: value for key, value in inner if _is_scalar(value)}
        if len(rows) > 1 and any(_flat(value) for _, value in rows):
            yield _grid(title, rows, document)
        elif any(isinstance(value, int | float) and not isinstance(value, bool) for value in flat.values()):
            yield _grid(title, [("", flat)], document)
        if depth < _DEPTH:
            for key, value in inner:
                if isinstance(value, list) or (isinstance(value, Mapping) and len(rows) <= 1):
                    yield from _grids(value, key, document, depth + 1)


def _grid(title: str, rows: list[tuple[str, Mapping[str, Any]]], document: Document) -> Grid:
    flat = [(name, _flat(entry)) for name, entry in rows]
    keys = list(dict.fromkeys(key for _, entry in flat for key in entry))
    named = any(name for name, _ in flat)
    header = [*([Cell("name")] if named else []), *(Cell(key) for key in keys)]
    cells = [(*([Cell(name)] if named else []), *(Cell(entry.get(key, "")) for key in keys)) for name, entry in flat]
    return Grid(title, tuple(header), tuple(cells), notes=document.notes)


def _flat(entry: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Scalars of an object, and those of the objects right inside it, as texts."""
    found: dict[str, str] = {}
    for key, value in list(entry.items())[:200]:
        name = f"{prefix}{str(key)[:100]}"
        if isinstance(value, bool):
            found[name] = "yes" if value else "no"
        elif isinstance(value, int | float | str):
            found[name] = str(value)[:400] if isinstance(value, str) or abs(value) < 1e300 else ""
        elif isinstance(value, Mapping) and not prefix:
            found |= _flat(value, f"{name} ")
    return found


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float | str)
