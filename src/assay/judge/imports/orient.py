"""Turns a table so that a row is a configuration and a column a metric. It refuses to turn what already stands so.

Three other ways are known: metrics as rows, one metric a row beside the configuration (long), and one phase a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from assay.judge.imports.document import Cell, Grid
from assay.judge.imports.numbers import Decimal, number_in, plain
from assay.judge.imports.units import unit_of
from assay.judge.imports.vocabulary import PHASES, Role, words_of

RoleOf = Callable[[str], Role]
_SHARE = 0.6
"""Share of the cells of a column that must be what the column is taken for."""
_VALUES = ("value", "values", "result", "results", "measured", "score", "number")
_MEASURES = ("metric", "statistic")


def oriented(grid: Grid, decimal: Decimal, role_of: RoleOf) -> Grid:
    """The grid with configurations as rows, and a note on how it was turned."""
    if not grid.rows or len(grid.header) < 2:
        return grid
    grid = _with_units_in_names(grid, role_of)
    roles = [role_of(cell.text) for cell in grid.header]
    names = grid.columns()[0]
    if (
        not any(role.kind in (*_MEASURES, "ratio") for role in roles[1:])
        and _share(names, role_of, _MEASURES) >= _SHARE
    ):
        values = [place for place, role in enumerate(roles) if place and role.kind in ("value", "unknown", "label")]
        groups = [place for place, role in enumerate(roles) if place and role.kind == "fact"]
        several = len({cell.text for cell in names}) < len(names)
        if groups and len(values) == 1 and several:
            return _pivoted(grid, 0, values, groups, "one metric a row")
        return _transposed(grid)
    return _long(grid, roles, role_of) or _phases(grid, roles, decimal) or grid


def _share(cells: Sequence[Cell], role_of: RoleOf, kinds: tuple[str, ...]) -> float:
    filled = [cell for cell in cells if plain(cell.text)]
    good = sum(role_of(cell.text).kind in kinds for cell in filled)
    return good / len(filled) if filled else 0.0


def _with_units_in_names(grid: Grid, role_of: RoleOf) -> Grid:
    """A column of units beside names of metrics is folded into the names."""
    place = next((p for p, cell in enumerate(grid.header) if p and words_of(cell.text) in ("unit", "units")), None)
    if place is None or _share(grid.columns()[0], role_of, _MEASURES) < _SHARE:
        return grid
    rows = []
    for row in grid.rows:
        unit = plain(row[place].text) if place < len(row) else ""
        named = replace(row[0], text=f"{row[0].text} ({unit})") if unit_of(unit) is not None else row[0]
        rows.append((named, *(cell for at, cell in enumerate(row) if at not in (0, place))))
    header = tuple(cell for at, cell in enumerate(grid.header) if at != place)
    return replace(grid, header=header, rows=tuple(rows))


def _transposed(grid: Grid) -> Grid:
    columns = grid.columns()
    header = (Cell("configuration"), *columns[0])
    single = len(columns) == 2
    rows = tuple(
        (replace(title, text="" if single and words_of(title.text) in _VALUES else title.text), *cells)
        for title, cells in zip(grid.header[1:], columns[1:], strict=True)
    )  # fmt: skip
    return replace(grid, header=header, rows=rows, notes=(*grid.notes, "metrics stand in rows: turned"))


def _long(grid: Grid, roles: Sequence[Role], role_of: RoleOf) -> Grid | None:
    """One metric a row: a column of metrics' names, one of values, and others that say of what."""
    columns = grid.columns()
    named = next(
        (p for p, role in enumerate(roles)
         if role.kind in ("metric_name", "label", "unknown") and _share(columns[p], role_of, ("metric",)) >= _SHARE
         and len({words_of(cell.text) for cell in columns[p]}) > 1),
        None,
    )  # fmt: skip
    values = [p for p, role in enumerate(roles) if p != named and role.kind in ("value", "statistic")]
    if named is None or not values:
        return None
    units = next((p for p, cell in enumerate(grid.header) if words_of(cell.text) in ("unit", "units")), None)
    if units is not None:
        rows = []
        for row in grid.rows:
            unit = plain(row[units].text) if units < len(row) else ""
            rows.append(
                tuple(
                    replace(cell, text=f"{cell.text} ({unit})") if at == named and unit_of(unit) else cell
                    for at, cell in enumerate(row)
                )
            )
        grid = replace(grid, rows=tuple(rows))
    groups = [p for p, role in enumerate(roles) if p not in (named, units, *values) and role.kind != "ignore"]
    return _pivoted(grid, named, values, groups, "one metric a row")


def _phases(grid: Grid, roles: Sequence[Role], decimal: Decimal) -> Grid | None:
    """One phase a row: forward, backward, optimizer under one another."""
    columns = grid.columns()
    for place, role in enumerate(roles):
        if role.kind not in ("fact", "label", "unknown") or (role.kind == "fact" and role.name != "phase"):
            continue
        words = [words_of(cell.text) for cell in columns[place] if cell.text]
        known = [word for word in words if word in PHASES]
        if len(set(known)) < 2 or len(known) < _SHARE * len(words):
            continue
        values = [p for p, other in enumerate(roles) if other.kind in ("metric", "statistic")]
        groups = [p for p, other in enumerate(roles) if p != place and p not in values and other.kind != "ignore"]
        if values and any(number_in(plain(cell.text), decimal) for cell in columns[values[0]]):
            return _pivoted(grid, place, values, groups, "one phase a row")
    return None


def _pivoted(grid: Grid, named: int, values: Sequence[int], groups: Sequence[int], note: str) -> Grid:
    """One row for each group, one column for each pair of a name and a value column."""
    found: dict[tuple[str, ...], dict[str, Cell]] = {}
    keys: dict[tuple[str, ...], tuple[Cell, ...]] = {}
    headers: dict[str, Cell] = {}
    unread = list(grid.unread)
    empty = Cell("")
    for row in grid.rows:
        cell = [row[p] if p < len(row) else empty for p in range(len(grid.header))]
        group = tuple(cell[p].text for p in groups)
        keys.setdefault(group, tuple(cell[p] for p in groups))
        for place in values:
            value_title = words_of(grid.header[place].text)
            plain_value = value_title in _VALUES
            title = cell[named].text if plain_value else f"{cell[named].text} {grid.header[place].text}"
            headers.setdefault(title, replace(cell[named], text=title))
            taken = found.setdefault(group, {})
            if title in taken and cell[place].text:
                unread.append(f"{cell[place].where}: a second {title} of one configuration")
            elif cell[place].text:
                taken[title] = cell[place]
    header = (*(grid.header[p] for p in groups), *headers.values())
    rows = tuple((*keys[group], *(found[group].get(title, empty) for title in headers)) for group in keys)
    return replace(
        grid, header=header, rows=rows, unread=tuple(unread), notes=(*grid.notes, f"{note}: brought together")
    )
