"""The chart of speed against quality, with the variants that no other one beats. An invalid number is drawn as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from assay.core.records import Absent, Estimate, Measured
from assay.show import format as shown
from assay.show.html.drawing import Chart, MissingChart, altair, cell_of, finished, position, text_of
from assay.show.view import CellView, RowView, View

_INVALID = "invalid"
_TOKENS = {
    "pass": "token:pass",
    "fail": "token:fail",
    "inconclusive": "token:warn",
    "baseline": "token:ink",
    "reference": "token:muted",
    _INVALID: "token:fail",
}
_SHAPES = {"baseline": "square", "reference": "diamond", _INVALID: "cross"}
_KL_TICKS = [0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]
_LINEAR_BELOW = 0.001
"""Nats below which variants cannot be told apart: there the axis is linear, so that zero has a place."""
_ROOM_RIGHT = 1.8
"""The axis goes on to so many times the largest divergence, for the name beside the point."""


def pareto(view: View, place: int) -> Chart | MissingChart:
    """Speed of the column at `place` against KL divergence."""
    column = view.columns[place]
    what = f"{column.header}{f', {column.workload}' if column.workload else ''}"
    title = f"Speed against quality: {what}"
    drawn, left_out = _points(view, place)
    if not drawn:
        return MissingChart(title, " ".join(left_out) or "no variant has both a speed and a KL divergence")
    marks: set[int] = set()
    for row in view.rows:
        for cell in (row.cells[place], cell_of(row, "kl_nats")):
            marks.update(cell.notes if cell is not None and cell.struck else ())
    invalid = [point["variant"] for point in drawn if point["kind"] == _INVALID]
    return Chart(
        name=f"pareto-{place}",
        title=title,
        spec=finished(_layers(altair(), drawn, f"{column.header}, tok/s"), 340),
        summary=f"{len(drawn)} variants by KL divergence from the reference and {what} in tokens per second. Up and to "
        "the left is better. The dashed line joins the variants that no other one beats in both.",
        headers=("variant", "KL, nats", f"{column.header}, tok/s", "verdict"),
        table=tuple(
            (row.name, text_of(row, "kl_nats"), _speed_text(row.cells[place]), row.status) for row in view.rows
        ),
        remarks=(*left_out, *[f"Invalid, and no part of the line: {name}." for name in invalid]),
        marks=tuple(sorted(marks)),
    )


def _points(view: View, place: int) -> tuple[list[dict[str, Any]], list[str]]:
    drawn: list[dict[str, Any]] = []
    left_out: list[str] = []
    for row in view.rows:
        speed, kl = row.cells[place], cell_of(row, "kl_nats")
        at_speed, at_kl = position(speed.raw), position(kl.raw) if kl else None
        if row.role == "reference":
            at_kl = 0.0  # its divergence from itself: known without being measured
        if kl is None or at_speed is None or at_kl is None:
            left_out.append(f"Not drawn: {row.name} ({_reasons(row, speed, kl)}).")
            continue
        point = {
            "variant": row.name,
            "kind": _INVALID if speed.struck or kl.struck else row.status,
            "kl": at_kl,
            "speed": at_speed,
            "shown": f"{speed.text} tok/s, {_kl_words(row, kl)}",
        }
        drawn.append({**point, **_bounds("speed", speed.raw), **_bounds("kl", kl.raw, at_kl)})
    return drawn, left_out


def _layers(alt: ModuleType, drawn: Sequence[dict[str, Any]], speed_title: str) -> Any:
    widest = max(_LINEAR_BELOW, max(point["kl"] for point in drawn) * _ROOM_RIGHT)
    scale = alt.Scale(type="symlog", constant=_LINEAR_BELOW, domain=[0, widest], nice=False)
    ticks = _KL_TICKS if widest > _LINEAR_BELOW else [0, _LINEAR_BELOW / 4, _LINEAR_BELOW / 2, _LINEAR_BELOW]
    axis = alt.Axis(values=ticks, format="~g", labelOverlap="greedy")
    x = alt.X("kl:Q", title="KL divergence, nats", scale=scale, axis=axis)
    y = alt.Y("speed:Q", title=speed_title, scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=6))
    kinds = list(dict.fromkeys(point["kind"] for point in drawn))
    legend = alt.Legend(orient="top", symbolSize=110, symbolOpacity=1, columns=3)
    colours = alt.Scale(domain=kinds, range=[_TOKENS.get(kind, "token:accent") for kind in kinds])
    color = alt.Color("kind:N", title=None, scale=colours, legend=legend)
    shapes = alt.Scale(domain=kinds, range=[_SHAPES.get(kind, "circle") for kind in kinds])
    shape = alt.Shape("kind:N", title=None, scale=shapes, legend=legend)
    base = alt.Chart(alt.Data(values=drawn))
    rule = base.mark_rule(strokeWidth=1.5, opacity=0.7)
    tooltip = [alt.Tooltip("variant:N"), alt.Tooltip("shown:N", title="measured"), alt.Tooltip("kind:N", title="is")]
    points = base.mark_point(filled=True, size=150, opacity=1, stroke="token:surface", strokeWidth=1.5)
    return alt.layer(
        *_front(alt, drawn, x, y),
        rule.encode(x=x, y="speed_low:Q", y2="speed_high:Q", color=color),
        rule.encode(x="kl_low:Q", x2="kl_high:Q", y=y, color=color),
        points.encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip),
        *_names(alt, drawn, x, y, widest),
    )


def _front(alt: ModuleType, drawn: Sequence[dict[str, Any]], x: Any, y: Any) -> list[Any]:
    # A layer without a point makes Vega warn of an axis without an extent.
    valid = [point for point in drawn if point["kind"] != _INVALID]
    if not valid:
        return []
    by_kl = [alt.SortField("kl"), alt.SortField("speed", order="descending")]
    chart = alt.Chart(alt.Data(values=valid)).transform_window(best="max(speed)", sort=by_kl)
    line = chart.transform_filter("datum.speed == datum.best").mark_line(
        interpolate="step-after", color="token:muted", strokeDash=[4, 4], strokeWidth=1.5
    )
    return [line.encode(x=x, y=y, order=alt.Order("kl:Q"))]


def _names(alt: ModuleType, drawn: Sequence[dict[str, Any]], x: Any, y: Any, widest: float) -> list[Any]:
    """The name of each variant, on the side of its point where there is room."""
    middle = math.log1p(widest / _LINEAR_BELOW) / 2
    sides: dict[str, list[dict[str, Any]]] = {"left": [], "right": []}
    for point in drawn:
        far = math.log1p(max(point["kl"], 0.0) / _LINEAR_BELOW) > middle
        sides["right" if far else "left"].append(point)
    return [
        alt.Chart(alt.Data(values=points))
        .mark_text(align=side, dx=8 if side == "left" else -8, dy=-12, fontWeight=600, color="token:ink")
        .encode(x=x, y=y, text="variant:N")
        for side, points in sides.items()
        if points
    ]


def _kl_words(row: RowView, kl: CellView) -> str:
    return "the reference itself" if row.role == "reference" else f"KL {kl.text} nats"


def _speed_text(cell: CellView) -> str:
    return f"{cell.text} (invalid)" if cell.struck else cell.text


def _reasons(row: RowView, speed: CellView, kl: CellView | None) -> str:
    if row.outcome:
        return "it did not run"
    reasons = [
        f"{name}: {shown.one_line(cell.raw.reason)}"
        for name, cell in (("speed", speed), ("KL", kl))
        if cell is not None and isinstance(cell.raw, Absent)
    ]
    return "; ".join(reasons) or "KL was not measured"


def _bounds(name: str, raw: Measured | Estimate, at: float | None = None) -> dict[str, float]:
    """Both ends of the interval; of a number without one, or of a known place, that place twice."""
    if isinstance(raw, Estimate):
        return {f"{name}_low": raw.low, f"{name}_high": raw.high}
    at = position(raw) if at is None else at
    return {} if at is None else {f"{name}_low": at, f"{name}_high": at}
