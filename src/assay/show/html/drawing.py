"""What every chart of the report shares: its record, its colours, its package. It draws nothing by itself.

Colours are names of the page's own palette (`token:pass`), which its script replaces, so that charts follow the light
and the dark page.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

from assay.core.errors import MissingDependencyError
from assay.core.records import Absent, Estimate, Measured
from assay.show import format as shown
from assay.show.view import CellView, RowView

_EXTRA = "html"
_PACKAGE_OF = {"vl_convert": "vl-convert-python"}


@dataclass(frozen=True)
class Chart:
    """One chart: its Vega-Lite specification, and the same facts as words and as a table."""

    name: str
    title: str
    spec: dict[str, Any]
    summary: str
    headers: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()
    marks: tuple[int, ...] = ()
    """Numbers of the notes that concern what is drawn."""
    wide: bool = False


@dataclass(frozen=True)
class MissingChart:
    """A chart that cannot be drawn, and why."""

    title: str
    reason: str


@lru_cache(maxsize=1)
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script.

    Raises:
        MissingDependencyError: the package that carries it is not installed.
    """
    text: str = _package("vl_convert").javascript_bundle()
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def altair() -> ModuleType:
    """Altair, imported when the first chart is made.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return _package("altair")


def finished(chart: Any, height: int) -> dict[str, Any]:
    """The specification of an Altair chart as wide as its box and `height` pixels high."""
    spec: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    spec.pop("config", None)
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["background"] = "transparent"
    # Room for the half of the last label that stands beyond the axis.
    spec["padding"] = {"left": 2, "right": 16, "top": 4, "bottom": 4}
    return spec


def cell_of(row: RowView, metric: str) -> CellView | None:
    """The first cell of a row that shows a metric, of whatever workload."""
    return next((cell for cell in (*row.cells, *row.further) if shown.base_metric(cell.column.key) == metric), None)


def text_of(row: RowView, metric: str) -> str:
    """A metric of a row as it is shown."""
    cell = cell_of(row, metric)
    return shown.MISSING if cell is None else cell.text


def position(raw: Measured | Estimate) -> float | None:
    """Where a number stands on an axis; None where there is none."""
    match raw:
        case Absent():
            return None
        case Estimate():
            return raw.value
        case _:
            return raw


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        asked = "the charts of the HTML report were asked for"
        raise MissingDependencyError(asked, _PACKAGE_OF.get(name, name), _EXTRA) from error
