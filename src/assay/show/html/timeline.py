"""The chart of a time over the rounds: what drifts, and with what else. It carries no values but another chart's.

Medians and quartiles are computed by the chart itself, from the samples that it shows.
"""

from __future__ import annotations

from assay.show import format as shown
from assay.show.html.drawing import Chart, altair, finished

_HEIGHT = 260


def timeline(distribution: Chart, metric: str) -> Chart:
    """Median and middle half of each variant in each round, by the time at which the round measured it.

    Args:
        distribution: the chart of all samples, whose values are shown.
        metric: what they are.
    """
    alt = altair()
    unit = shown.scale_of(metric).unit
    rounds = (
        alt.Chart(alt.NamedData(name="columns"))
        .transform_filter("datum.kind == 'steady' && datum.s !== null")
        .transform_aggregate(
            middle="median(t)", low="q1(t)", high="q3(t)", began="min(s)", groupby=["variant", "r"]
        )
        .encode(
            x=alt.X("began:Q", title="seconds since the first sample", axis=alt.Axis(tickCount=6)),
            color=alt.Color("variant:N", title=None, scale=alt.Scale(scheme="tableau10"), sort=None,
                            legend=alt.Legend(orient="top", columns=2)),
        )
    )  # fmt: skip
    y = alt.Y("middle:Q", title=unit, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=5, format="~g"))
    tooltip = [
        "variant:N",
        alt.Tooltip("r:Q", title="round"),
        *[alt.Tooltip(f"{name}:Q", title=title, format=".4~g")
          for name, title in (("middle", f"median, {unit}"), ("low", "lower quartile"), ("high", "upper quartile"))],
    ]  # fmt: skip
    chart = alt.layer(
        rounds.mark_line(strokeWidth=1.5, opacity=0.6).encode(y=y),
        rounds.mark_rule(strokeWidth=2, opacity=0.35).encode(y=alt.Y("low:Q"), y2="high:Q"),
        rounds.mark_point(filled=True, size=55, opacity=1).encode(y=y, tooltip=tooltip),
    )
    spec = finished(chart, _HEIGHT)
    spec["usermeta"] = {"of": distribution.name}
    return Chart(
        name=f"timeline-{distribution.name}",
        title=distribution.title.replace("Every sample", "Over the rounds", 1),
        spec=spec,
        summary="Median and middle half of the steady values of each round. Where all variants climb together, the "
        "machine drifted; where one climbs alone, it did.",
        headers=distribution.headers,
        table=distribution.table,
        wide=True,
    )
