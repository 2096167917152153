"""A small TOML map that corrects what was recognised. It refuses keys and roles that it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from assay.core.errors import InputError
from assay.core.records import FrozenMap, Record, Scalar
from assay.core.toml_file import read_record
from assay.judge.imports.units import Unit, unit_of
from assay.judge.imports.vocabulary import Role, words_of

WORDS = ("ignore", "label")
STATISTICS = ("value", "mean", "median", "std", "error", "minimum", "maximum")


class Column(Record, use_attribute_docstrings=True):
    """What a column is."""

    metric: str = ""
    """A name of `assay list metrics`."""
    fact: str = ""
    """A fact of the set-up, such as batch, dtype or context."""
    statistic: Literal["value", "mean", "median", "std", "error", "minimum", "maximum"] = "value"
    """Of the metric."""
    unit: str = ""
    """Such as ms, MiB, tok/s; where empty, the header's or the cells' own."""
    expected: bool = False
    """True for expected values, which are not judged."""


class TableMap(Record, use_attribute_docstrings=True):
    """What a table is, by its title."""

    expected: bool = False
    """True for expected values, which are not judged."""
    ignore: bool = False
    """True to leave it out."""
    facts: FrozenMap[Scalar] = Field(default_factory=dict)
    """Facts of its set-up."""


class Correction(Record, use_attribute_docstrings=True):
    """The map as a whole."""

    columns: FrozenMap[str | Column] = Field(default_factory=dict)
    """By the column's header: a metric, a fact, `label`, `ignore`, or a table with metric, fact, statistic, unit."""
    tables: FrozenMap[TableMap] = Field(default_factory=dict)
    """By the table's title."""
    facts: FrozenMap[Scalar] = Field(default_factory=dict)
    """Of the whole set-up."""
    units: tuple[str, ...] = ()
    """Of columns that name none, such as `ms` for every time and `MiB` for every size."""

    def role(self, header: str) -> Role | None:
        """The role that the map gives a column; None where it says nothing of it."""
        wanted = words_of(header)
        for written, column in self.columns.items():
            if words_of(written) == wanted:
                return _role(column, header)
        return None

    def table(self, title: str) -> TableMap | None:
        """What the map says of a table."""
        return next((entry for name, entry in self.tables.items() if words_of(name) == words_of(title)), None)

    def default_unit(self, base: str) -> Unit | None:
        """The unit of columns that name none, for a unit of the records."""
        units = (unit_of(written) for written in self.units)
        return next((unit for unit in units if unit is not None and unit.base == base), None)

    def with_units(self, written: Sequence[str]) -> Correction:
        """The same with further units of columns that name none.

        Raises:
            InputError: a text is no unit.
        """
        for text in written:
            if unit_of(text) is None:
                raise InputError(
                    f"The unit {text!r} was given", "it is none", "Write it as ms, s, MB, MiB, tok/s, J, W"
                )
        return self.model_copy(update={"units": (*written, *self.units)})


NOTHING = Correction()


def read_correction(path: Path) -> Correction:
    """Read a map.

    Raises:
        InputError: it is no TOML, has an unknown key, or names an unknown metric, fact or unit.
    """
    asked = f"The map {str(path)!r} was to be read"
    found = read_record(path, Correction, "map", "Its keys: columns, tables, facts, units; see docs/audit.md")
    for header, column in found.columns.items():
        _check(asked, header, column)
    for written in found.units:
        if unit_of(written) is None:
            raise InputError(asked, f"units: {written!r} is no unit", "Write it as ms, s, MB, MiB, tok/s, J, W")
    return found


def _check(asked: str, header: str, column: str | Column) -> None:
    from assay.core.figures import FACTS
    from assay.core.metrics import METRICS

    entry = column if isinstance(column, Column) else Column()
    named = column if isinstance(column, str) else entry.metric or entry.fact
    base = named.partition("@")[0]
    if base not in METRICS and named not in FACTS and named not in WORDS:
        raise InputError(
            asked, f"columns.{header}: {named!r} is no metric and no fact",
            f"Use a name of `assay list metrics`, {', '.join(WORDS)}, or one of: {', '.join(FACTS)}",
        )  # fmt: skip
    if entry.unit and unit_of(entry.unit) is None:
        raise InputError(asked, f"columns.{header}: {entry.unit!r} is no unit", "Write it as ms, s, MB, tok/s, J, W")


def _role(column: str | Column, header: str) -> Role:
    from assay.core.metrics import METRICS
    from assay.judge.imports.vocabulary import role_of

    own = role_of(header)
    if isinstance(column, str):
        if column in WORDS:
            return Role(column, column, said=own.said)  # type: ignore[arg-type]
        if column.partition("@")[0] in METRICS:
            return Role("metric", column, own.statistic, own.unit, own.expected, own.said)
        return Role("fact", column, unit=own.unit, said=own.said)
    unit = unit_of(column.unit) if column.unit else own.unit
    if column.fact:
        return Role("fact", column.fact, unit=unit, said=own.said)
    return Role("metric", column.metric, column.statistic, unit, column.expected, own.said)
