"""The chart of each layer's PSNR against the reference: where a variant strays. It computes no number."""

from __future__ import annotations

from collections.abc import Sequence

from assay.core.records import Absent, Quality
from assay.show import format as shown
from assay.show.html.drawing import Chart, altair, finished

_HEIGHT = 280


def layers(quality: Sequence[Quality]) -> tuple[Chart, ...]:
    """One line for each variant whose layers were held against the reference's; no chart where none was."""
    lines = [(shown.one_line(q.variant), q.layers) for q in quality if not isinstance(q.layers, Absent)]
    if not any(found for _, found in lines):
        return ()
    points = [
        {"variant": name, "layer": place, "name": layer.layer, "psnr": layer.psnr_db}
        for name, found in lines
        for place, layer in enumerate(found, start=1)
    ]
    alt = altair()
    color = alt.Color("variant:N", title=None, sort=None, scale=alt.Scale(scheme="tableau10"),
                      legend=alt.Legend(orient="top", columns=2))  # fmt: skip
    base = alt.Chart(alt.Data(values=points)).encode(
        x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickCount=8, format="d"), scale=alt.Scale(nice=False)),
        y=alt.Y("psnr:Q", title="PSNR, dB", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=6)),
        color=color,
        tooltip=["variant:N", alt.Tooltip("name:N", title="layer"), alt.Tooltip("psnr:Q", title="dB", format=".1f")],
    )
    return (
        Chart(
            name="layers",
            title="Layer by layer",
            spec=finished(alt.layer(base.mark_line(strokeWidth=1.5), base.mark_point(filled=True, size=40)), _HEIGHT),
            summary="PSNR of each layer's output against the reference's, on the first tokens of the text. Higher is "
            "nearer; a step down is a layer whose weights lost more than those before it.",
            headers=("variant", "layer", "PSNR, dB"),
            table=tuple((name, layer.layer, f"{layer.psnr_db:.1f}") for name, found in lines for layer in found),
            wide=True,
        ),
    )
