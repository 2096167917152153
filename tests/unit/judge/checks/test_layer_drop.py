"""The layer at which a variant strays is named; an even decline is none."""

from __future__ import annotations

from typing import Any

import fixtures_result as shared
from assay.core.records import Absent, LayerFidelity
from assay.judge.checks import layer_drop
from assay.judge.checks.base import Subject
from assay.judge.checks.policy import CheckPolicy


def subject(values: list[float] | Absent, variant: str = "int8") -> Subject:
    result = shared.make_result()
    layers: Any = values
    if not isinstance(values, Absent):
        layers = tuple(LayerFidelity(layer=f"layers.{place}", psnr_db=value) for place, value in enumerate(values))
    quality = [q.model_copy(update={"layers": layers}) for q in result.quality if q.variant == variant]
    return Subject(
        rows=result.rows,
        rounds=(),
        quality=tuple(quality),
        comparisons=(),
        null_estimates=(),
        environment=result.environment,
        source=result.model,
    )


def test_the_layer_of_the_largest_fall_is_named_and_the_first_below_the_bound() -> None:
    [finding] = layer_drop.check(subject([75.0, 72.0, 58.0, 57.0]), CheckPolicy()).findings
    assert finding.severity == "INFO"
    assert "strays at layers.2" in finding.summary
    assert "the first below 60 dB is layers.2" in finding.summary
    assert finding.numbers["fall_db"] == 14.0


def test_an_even_decline_is_no_finding() -> None:
    answer = layer_drop.check(subject([70.0, 66.0, 62.0, 58.0, 54.0]), CheckPolicy())
    assert answer.findings == answer.not_checked == ()


def test_layers_that_were_not_seen_are_said_and_the_reference_is_left_out() -> None:
    answer = layer_drop.check(subject(Absent(reason="this runtime does not show its layers")), CheckPolicy())
    assert answer.findings == ()
    assert answer.not_checked == ("no layers of int8: this runtime does not show its layers",)
    assert layer_drop.check(subject([70.0, 20.0], "fp32"), CheckPolicy()) == ((), ())
