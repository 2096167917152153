"""What every reader is given and gives back: a bounded document, and grids of cells that know their place.

It refuses files that are larger than a person's table: a hostile file must not eat the memory of an audit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

from assay.core.errors import CorruptFileError, InputError
from assay.core.figures import FigureTable
from assay.core.records import Scalar

LIMIT_BYTES = 16 * 1024 * 1024
"""Of one file. JSON of this size takes at most some hundred MB once parsed."""
LIMIT_ROWS = 300
"""Of one table; what follows is told as not read. Checks compare rows with each other."""
LIMIT_COLUMNS = 200
LIMIT_TABLES = 200
LIMIT_CELL = 400
"""Characters of a cell that are read."""
LIMIT_LINE = 20_000
"""Characters of a line that are read."""

_RUN = re.compile(r"[^\x00-\x7f]+")
_SIGNS = frozenset("ÂÃâðÎÏ")


@dataclass(frozen=True)
class Cell:
    """A text and where it stands."""

    text: str
    line: int = 0
    column: int = 0

    @property
    def where(self) -> str:
        """`line 12, column 3`, or nothing where the source has no lines."""
        if not self.line:
            return ""
        return f"line {self.line}, column {self.column}" if self.column else f"line {self.line}"


@dataclass(frozen=True)
class Grid:
    """A table as its source wrote it: a header and rows of cells, with the words around it."""

    title: str
    header: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    headings: tuple[str, ...] = ()
    """From the outermost to the nearest."""
    prose: tuple[str, ...] = ()
    """Paragraphs beside it, those that come before it first."""
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    """What the source states of all rows in a field of its own."""
    unread: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """How the source was read, such as its encoding."""

    def columns(self) -> list[list[Cell]]:
        """The cells below each header, top down; a ragged row has empty cells at its end."""
        empty = Cell("")
        return [[row[place] if place < len(row) else empty for row in self.rows] for place in range(len(self.header))]


Reading = Grid | FigureTable
"""What a reader finds: a table still to be recognised, or figures whose meaning its format states."""


@dataclass(frozen=True)
class Document:
    """A file's name and its text."""

    name: str
    text: str
    notes: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """`.md` in lower case."""
        return PurePath(self.name).suffix.casefold()

    @property
    def stem(self) -> str:
        """The file's name without folder and suffix."""
        return PurePath(self.name).stem

    @property
    def head(self) -> str:
        """The first characters: what a reader looks at to know its own."""
        return self.text[:4096]

    def lines(self) -> list[str]:
        """All lines, each cut at `LIMIT_LINE`."""
        return [line[:LIMIT_LINE] for line in self.text.splitlines()]

    @property
    def is_json(self) -> bool:
        """Whether the text begins as JSON does: whether it is JSON, only `json` tells."""
        return self.suffix in (".json", ".jsonl", ".ndjson") or self.text.lstrip()[:1] in ("{", "[")

    @cached_property
    def json(self) -> Any:
        """The document as JSON, parsed once; JSON lines become a list. A number that is NaN or infinite becomes None.

        Raises:
            CorruptFileError: it is neither, or it is nested too deep.
        """
        try:
            return _parsed(self.text)
        except RecursionError:
            raise self.corrupt("it is nested too deep") from None
        except ValueError as error:
            lines = [line for line in self.text.splitlines() if line.strip()]
            if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
                raise self.corrupt(f"it is no JSON ({error})") from None
        try:
            return [_parsed(line) for line in lines]
        except (RecursionError, ValueError) as error:
            raise self.corrupt(f"its lines are no JSON ({error})") from None

    def corrupt(self, found: str) -> CorruptFileError:
        """The error of a document that is damaged."""
        return CorruptFileError(
            f"The file {self.name!r} was to be read", found, "Give a whole file as the tool wrote it"
        )


def document(name: str, content: bytes) -> Document:
    """A document from the bytes of a file: UTF-8, UTF-16 with a mark, otherwise Windows-1252, which is told.

    Raises:
        InputError: it is empty, larger than `LIMIT_BYTES`, or binary.
    """
    asked = f"The file {name!r} was to be audited"
    if len(content) > LIMIT_BYTES:
        raise InputError(
            asked, f"it has {len(content) / 1e6:.0f} MB", f"Give at most {LIMIT_BYTES // 1024 // 1024} MiB: cut it"
        )
    encoding, notes = "utf-8-sig", list[str]()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\0" in content:
        raise InputError(asked, "it holds binary data", "Give a text: Markdown, CSV, JSON, notes or a log")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
        notes.append("it is no UTF-8 and was read as Windows-1252")
    if not text.strip():
        raise InputError(asked, "it is empty", "Give a file with a table or results")
    mended = mend(text)
    if mended != text:
        notes.append("UTF-8 that had been decoded wrongly was mended")
    return Document(name, mended, tuple(notes))


def mend(text: str) -> str:
    """UTF-8 that somebody decoded as Windows-1252 (`Â±`, `âœ…`), set right; done twice where it was done twice."""
    for _ in range(2):
        mended = _RUN.sub(lambda run: _mended_run(run[0]), text)
        if mended == text:
            return text
        text = mended
    return text


def _mended_run(run: str) -> str:
    if not _SIGNS & set(run):
        return run
    try:
        return b"".join(_byte(letter) for letter in run).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return run


def _byte(letter: str) -> bytes:
    return letter.encode("latin-1") if "\x80" <= letter <= "\x9f" else letter.encode("cp1252")


def bounded(grid: Grid) -> Grid:
    """The grid within the limits of rows and columns; what was cut off is listed as unread."""
    unread = list(grid.unread)
    if len(grid.rows) > LIMIT_ROWS:
        unread.append(f"the rows after the first {LIMIT_ROWS:,} of {len(grid.rows):,}")
    if len(grid.header) > LIMIT_COLUMNS:
        unread.append(f"the columns after the first {LIMIT_COLUMNS} of {len(grid.header)}")
    rows = tuple(tuple(_cut(cell) for cell in row[:LIMIT_COLUMNS]) for row in grid.rows[:LIMIT_ROWS])
    header = tuple(_cut(cell) for cell in grid.header[:LIMIT_COLUMNS])
    return replace(grid, header=header, rows=rows, unread=tuple(unread))


def _cut(cell: Cell) -> Cell:
    return cell if len(cell.text) <= LIMIT_CELL else replace(cell, text=cell.text[:LIMIT_CELL])


def cells(texts: Sequence[str], line: int = 0) -> tuple[Cell, ...]:
    """Texts of one line as cells, counted from column 1."""
    return tuple(Cell(text.strip(), line, place) for place, text in enumerate(texts, 1))


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=lambda _: None)
