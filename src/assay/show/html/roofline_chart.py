"""The chart of the roofline: every variant under the most that this machine did. Without ceilings it says why not."""

from __future__ import annotations

import math
from typing import Any

from assay.core.records import Absent
from assay.show import format as shown
from assay.show.html.drawing import Chart, MissingChart, altair, finished
from assay.show.html.roofline import Roofline

_ROOM_LEFT, _ROOM_RIGHT = 3.0, 8.0


def roofline_chart(roofline: Roofline | Absent) -> Chart | MissingChart:
    """Draw a roofline."""
    if isinstance(roofline, Absent):
        return MissingChart("Roofline", roofline.reason)
    return Chart(
        name="roofline",
        title="Roofline",
        spec=finished(_layers(roofline), 380),
        summary="FLOP per second that each variant reached, against the FLOP that it does for each byte moved. The "
        "lines are the most that this machine did: left of a bend memory bounds, right of it arithmetic does. "
        f"{_ceilings(roofline)}",
        headers=("variant", "workload", "type", "FLOP per byte", "GFLOP/s", "of its roof", "bound"),
        table=tuple(
            (
                point.row,
                point.workload,
                point.dtype,
                shown.significant(point.flops_per_byte, 3),
                shown.significant(point.flops_per_s / 1e9, 4),
                shown.percent(point.share),
                point.bound,
            )
            for point in roofline.points
        ),
        remarks=(
            *[f"Not drawn: {reason}." for reason in roofline.left_out],
            *[f"The ceilings are not to be trusted: {reason}." for reason in roofline.contention],
        ),
        wide=True,
    )


def _ceilings(roofline: Roofline) -> str:
    said = [f"{roof.dtype} {shown.significant(roof.flops_per_s / 1e9, 3)} GFLOP/s" for roof in roofline.roofs]
    said += [f"{each.name} {shown.bytes_text(each.bytes_per_s)}/s" for each in roofline.bandwidths]
    dashed = " (dashed)" if len(roofline.bandwidths) > 1 else ""
    return f"Ceilings: {', '.join(said)}{dashed}."


def _layers(roofline: Roofline) -> Any:
    alt = altair()
    low = min(point.flops_per_byte for point in roofline.points) / _ROOM_LEFT
    high = max(point.flops_per_byte for point in roofline.points) * _ROOM_RIGHT
    lines = _roofs(roofline, low, high)
    bandwidth = roofline.bandwidths[0].bytes_per_s
    names = [
        {
            "label": roof.dtype,
            "intensity": max(low, roof.flops_per_s / bandwidth),
            "gflops": roof.flops_per_s / 1e9,
        }
        for roof in roofline.roofs
    ]
    heights = [line["gflops"] for line in lines] + [point.flops_per_s / 1e9 for point in roofline.points]
    x = _log_axis(alt.X, "intensity:Q", "FLOP per byte moved", low, high)
    y = _log_axis(alt.Y, "gflops:Q", "GFLOP/s", min(heights) / 1.5, max(heights) * 2)
    points = [
        {
            "variant": point.row,
            "label": f"{point.row}, {point.workload}",
            "workload": point.workload,
            "intensity": point.flops_per_byte,
            "gflops": point.flops_per_s / 1e9,
            "shown": f"{shown.percent(point.share)} of its roof, bound by {point.bound}",
        }
        for point in roofline.points
    ]
    workloads = list(dict.fromkeys(point.workload for point in roofline.points))
    colours = alt.Scale(domain=workloads, range=["token:c1", "token:c3", "token:warm", "token:c2"])
    color = alt.Color("workload:N", title=None, scale=colours, legend=alt.Legend(orient="top"))
    tooltip = [alt.Tooltip("label:N", title="variant"), alt.Tooltip("shown:N", title="reaches")]
    base = alt.Chart(alt.Data(values=points)).encode(x=x, y=y)
    roofs = alt.Chart(alt.Data(values=lines)).encode(x=x, y=y, detail="roof:N")
    # A layer without a line makes Vega warn of an axis without an extent.
    dashed = roofs.transform_filter("datum.cache").mark_line(strokeWidth=1.5, strokeDash=[5, 4], color="token:muted")
    cache_roofs = [dashed] if len(roofline.bandwidths) > 1 else []
    labels = alt.Chart(alt.Data(values=names)).encode(x=x, y=y, text="label:N")
    return alt.layer(
        roofs.transform_filter("!datum.cache").mark_line(strokeWidth=2, color="token:muted"),
        *cache_roofs,
        labels.mark_text(align="left", dx=16, dy=-8, color="token:muted", fontSize=11),
        base.mark_point(filled=True, size=130, opacity=1, stroke="token:surface", strokeWidth=1.5).encode(
            color=color, tooltip=tooltip
        ),
        base.mark_text(align="left", dx=10, dy=4, fontWeight=600, color="token:ink").encode(text="variant:N"),
    )


def _roofs(roofline: Roofline, low: float, high: float) -> list[dict[str, Any]]:
    """Corners of the lines."""
    lines: list[dict[str, Any]] = []
    for bandwidth in roofline.bandwidths:
        is_cache = bandwidth is not roofline.bandwidths[0]
        for roof in roofline.roofs:
            ridge = roof.flops_per_s / bandwidth.bytes_per_s
            for intensity in (low, *([ridge] if low < ridge < high else []), high):
                height = min(roof.flops_per_s, bandwidth.bytes_per_s * intensity) / 1e9
                key = f"{roof.dtype} {bandwidth.name}"
                lines.append({"roof": key, "cache": is_cache, "intensity": intensity, "gflops": height})
    return lines


def _log_axis(channel: Any, field: str, title: str, low: float, high: float) -> Any:
    alt = altair()
    decades = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    scale = alt.Scale(type="log", nice=False, domain=[low, high])
    return channel(field, title=title, scale=scale, axis=alt.Axis(values=decades, format="~g"))
