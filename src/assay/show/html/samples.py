"""The charts of every recorded time, warm-up in a colour of its own. No sample is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from assay.core.metrics import METRICS
from assay.core.records import Round, Samples
from assay.show import format as shown
from assay.show.html.drawing import Chart, MissingChart, altair, finished
from assay.show.html.timeline import timeline

_CPU_TIME = "cpu_s"
"""Recorded beside wall time and not drawn: wall time decides."""
_MANY_POINTS = 1500
"""From here on a chart is drawn on a canvas: so many SVG elements would make the page slow."""
_LOOKS = ((150, 60, 0.8), (_MANY_POINTS, 22, 0.6), (10_000, 14, 0.45), (math.inf, 8, 0.3))
"""Up to so many points: size and opacity of each."""
_STRIP_PIXELS = 56
_KINDS = ["steady", "warm-up"]

Found = list[tuple[str, int, Samples]]
"""Variant, round and samples."""


def distributions(rounds: Sequence[Round], names: Sequence[str] = ()) -> tuple[Chart | MissingChart, ...]:
    """One chart for each workload and metric that was timed; variants in the order of `names`, others after them.

    Where there were several rounds a second one shows the same values over time.
    """
    groups: dict[tuple[str, str], Found] = {}
    for measured in rounds:
        for run in measured.runs:
            for samples in run.samples:
                metric = METRICS.get(samples.metric)
                if metric is not None and metric.unit == "s" and metric.name != _CPU_TIME and samples.values:
                    found = groups.setdefault((run.workload.name, metric.name), [])
                    found.append((shown.one_line(run.variant), measured.index, samples))
    if not groups:
        return (MissingChart("Every sample", "this report was made without the rounds of the study"),)
    charts: list[Chart] = []
    for (workload, name), found in groups.items():
        charts.append(_distribution(workload, name, found, names))
        if len({index for _, index, samples in found if samples.started_s}) > 1:
            charts.append(timeline(charts[-1], name))
    return tuple(charts)


def _distribution(workload: str, metric: str, found: Found, names: Sequence[str]) -> Chart:
    there = dict.fromkeys(variant for variant, _, _ in found)
    variants = [*(name for name in names if name in there), *(name for name in there if name not in names)]
    title = shown.title_of(metric)
    what = title if workload == "load" else f"{workload}, {title}"
    rows = []
    for variant in variants:
        own = [samples for name, _, samples in found if name == variant]
        warm = sum(samples.warmup for samples in own)
        rows.append((variant, str(len(own)), str(warm), str(sum(len(samples.values) for samples in own) - warm)))
    return Chart(
        name=f"samples-{workload}-{metric}",
        title=f"Every sample: {what}",
        spec=_strips(metric, variants, found),
        summary=f"Every recorded value of {what}, one strip for each variant; left is faster. Warm-up "
        "has a colour of its own and enters no number.",
        headers=("variant", "runs", "warm-up values", "steady values"),
        table=tuple(rows),
        remarks=("The values themselves are in the pyperf export.",),
        wide=True,
    )


def _strips(metric: str, variants: list[str], found: Found) -> dict[str, Any]:
    alt = altair()
    scale = shown.scale_of(metric)
    columns = _columns(variants, found, scale.factor)
    size, opacity = next(look for most, *look in _LOOKS if len(columns["t"]) <= most)
    title = f"{scale.unit}, logarithmic"
    axis = alt.Axis(labelOverlap="greedy", labelSeparation=6, labelBound=True, tickCount=6, format="~g")
    log = alt.Scale(type="log", nice=False, padding=12)
    colours = alt.Scale(domain=_KINDS, range=["token:c1", "token:warm"])
    chart = (
        alt.Chart(alt.NamedData(name="columns"))
        .mark_point(filled=True, size=size, opacity=opacity, strokeWidth=0)
        .encode(
            x=alt.X("t:Q", title=title, scale=log, axis=axis),
            y=alt.Y("variant:N", sort=variants, title=None, scale=alt.Scale(domain=variants, paddingInner=0.25)),
            yOffset=alt.YOffset("jitter:Q", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "kind:N", title=None, scale=colours, legend=alt.Legend(orient="top", symbolOpacity=1, symbolSize=90)
            ),
            tooltip=[
                "variant:N",
                "kind:N",
                alt.Tooltip("t:Q", title=scale.unit),
                alt.Tooltip("r:Q", title="round"),
                alt.Tooltip("n:Q", title="sample"),
            ],
        )
    )
    spec = finished(chart, _STRIP_PIXELS * len(variants))
    spec["usermeta"] = {"columns": columns, "variants": variants, "canvas": len(columns["t"]) > _MANY_POINTS}
    return spec


def _columns(variants: list[str], found: Found, factor: float) -> dict[str, list[Any]]:
    """The values as columns, since thousands of objects would be mostly names; the page's script makes points of them.

    v place of the variant, r round, t time in the shown unit, w warm-up, n place in the run, s seconds since the first
    value began, or null where the starts were not recorded.
    """
    columns: dict[str, list[Any]] = {"v": [], "r": [], "t": [], "w": [], "n": [], "s": []}
    first_s = min((start for _, _, samples in found for start in samples.started_s), default=0.0)
    for variant, index, samples in found:
        count = len(samples.values)
        columns["v"] += [variants.index(variant)] * count
        columns["r"] += [index] * count
        columns["t"] += [float(f"{value * factor:.6g}") for value in samples.values]
        columns["w"] += [1] * samples.warmup + [0] * (count - samples.warmup)
        columns["n"] += list(range(count))
        columns["s"] += [round(start - first_s, 1) for start in samples.started_s] or [None] * count
    return columns
