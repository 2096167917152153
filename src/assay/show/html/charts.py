"""Every chart of the report, in order. What cannot be drawn has its place too, with the reason."""

from __future__ import annotations

from collections.abc import Sequence

from assay.core.records import Ceilings, Round
from assay.show.html.drawing import Chart, MissingChart
from assay.show.html.layers import layers
from assay.show.html.memory import memory
from assay.show.html.pareto import pareto
from assay.show.html.roofline import roofline_of
from assay.show.html.roofline_chart import roofline_chart
from assay.show.html.samples import distributions
from assay.show.view import View


def charts_of(view: View, rounds: Sequence[Round], ceilings: Ceilings | None) -> tuple[Chart | MissingChart, ...]:
    """The charts of a result: speed against quality, memory, every sample, the roofline.

    Raises:
        MissingDependencyError: the extra that draws them is not installed.
    """
    speeds = [place for place, column in enumerate(view.columns) if column.unit == "tok/s"]
    fronts = [pareto(view, place) for place in reversed(speeds)]
    drawn = sum(isinstance(front, Chart) for front in fronts)
    return (
        *fronts,
        memory(view, wide=drawn % 2 == 0),
        *layers(view.result.quality),
        *distributions(rounds, [row.name for row in view.rows]),
        roofline_chart(roofline_of(view, rounds, ceilings)),
    )
