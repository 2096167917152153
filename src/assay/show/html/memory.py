"""The chart of sizes: weights on disk, weights in memory, peak of the process. What was not measured has no bar."""

from __future__ import annotations

from typing import Any

from assay.show import format as shown
from assay.show.html.drawing import Chart, MissingChart, altair, cell_of, finished, position, text_of
from assay.show.view import View

_SIZES = (
    ("weight_bytes", "on disk", "token:c2"),
    ("resident_weight_bytes", "loaded", "token:c1"),
    ("peak_rss_bytes", "peak", "token:c3"),
)
_ROW_PIXELS = 64
_ROOM_RIGHT = 1.3
"""The axis goes on to so many times the longest bar, for the number at its end."""


def memory(view: View, *, wide: bool) -> Chart | MissingChart:
    """Bars of every size of every variant."""
    bars: list[dict[str, Any]] = []
    marks: set[int] = set()
    for row in view.rows:
        for metric, title, _ in _SIZES:
            cell = cell_of(row, metric)
            at = position(cell.raw) if cell else None
            if cell is not None and at is not None:
                marks.update(cell.notes)
                megabytes = at * shown.scale_of(metric).factor
                bars.append({"variant": row.name, "kind": title, "mb": megabytes, "shown": f"{cell.text} MB"})
    if not bars:
        return MissingChart("Memory", "no variant has a size or a peak")
    alt = altair()
    titles = [title for _, title, _ in _SIZES]
    scale = alt.Scale(domain=[0, _ROOM_RIGHT * max(bar["mb"] for bar in bars)], nice=False)
    base = alt.Chart(alt.Data(values=bars)).encode(
        y=alt.Y("variant:N", sort=None, title=None, scale=alt.Scale(paddingInner=0.35)),
        yOffset=alt.YOffset("kind:N", sort=titles),
        x=alt.X("mb:Q", title="MB", scale=scale, axis=alt.Axis(tickCount=4, labelOverlap="greedy")),
        tooltip=["variant:N", "kind:N", alt.Tooltip("shown:N", title="size")],
    )
    colours = alt.Scale(domain=titles, range=[colour for _, _, colour in _SIZES])
    color = alt.Color("kind:N", sort=titles, title=None, scale=colours, legend=alt.Legend(orient="top"))
    numbers = base.mark_text(align="left", dx=5, color="token:muted", fontSize=11).encode(text="shown:N")
    drawn_rows = len({bar["variant"] for bar in bars})
    return Chart(
        name="memory",
        title="Memory",
        spec=finished(
            alt.layer(base.mark_bar(cornerRadiusEnd=3).encode(color=color), numbers), _ROW_PIXELS * drawn_rows
        ),
        summary="Weights on disk and loaded into memory, and the peak of the whole process, for each variant.",
        headers=("variant", *(f"{title}, MB" for title in titles)),
        table=tuple((row.name, *(text_of(row, metric) for metric, _, _ in _SIZES)) for row in view.rows),
        marks=tuple(sorted(marks)),
        wide=wide,
    )
