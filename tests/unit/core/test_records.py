"""Records: frozen, without unknown fields, without NaN, tuples not lists, and Absent instead of nothing."""

from __future__ import annotations

import inspect
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from assay.core import records
from assay.core.metrics import METRICS
from assay.core.records import (
    MEASURED,
    Absent,
    Estimate,
    Finding,
    Memory,
    ModelSource,
    Outcome,
    Quality,
    Record,
    Samples,
    Target,
    TransformSpec,
    Verdict,
    Workload,
)

KINDS = [kind for _, kind in inspect.getmembers(records, inspect.isclass) if issubclass(kind, Record)]
ESTIMATE = Estimate(value=1.0, low=0.9, high=1.1, method="by hand")


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_record_is_frozen_strict_and_closed(kind: type[Record]) -> None:
    assert kind.model_config["frozen"] is True
    assert kind.model_config["strict"] is True
    assert kind.model_config["extra"] == "forbid"
    assert kind.model_config["allow_inf_nan"] is False


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_no_field_is_a_list_a_dict_or_may_be_none(kind: type[Record]) -> None:
    for name, field in kind.model_fields.items():
        shown = str(field.annotation)
        assert "list[" not in shown, name
        assert "dict[" not in shown, name
        assert "None" not in shown, name


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_record_says_what_it_is(kind: type[Record]) -> None:
    assert kind.__doc__


def test_a_field_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ESTIMATE.value = 2.0


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="median"):
        Estimate.from_json('{"value": 1, "low": 1, "high": 1, "method": "", "median": 1}')


def test_a_missing_field_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="method"):
        Estimate.from_json('{"value": 1, "low": 1, "high": 1}')


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Estimate(value=value, low=0.0, high=1.0, method="")
    with pytest.raises(ValidationError):
        Samples(metric="tpot_s", values=(1.0, value))
    with pytest.raises(ValidationError):
        MEASURED.validate_python(value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", '"NaN"', '"Infinity"', "null"])
def test_what_is_not_finite_is_refused_in_json(text: str) -> None:
    with pytest.raises(ValidationError):
        Estimate.from_json(f'{{"value": {text}, "low": 1, "high": 1, "method": ""}}')


def test_a_list_is_refused_in_python_and_read_from_json() -> None:
    with pytest.raises(ValidationError, match="tuple"):
        Samples.model_validate({"metric": "tpot_s", "values": [1.0]})
    assert Samples.from_json('{"metric": "tpot_s", "values": [1, 2.5]}').values == (1.0, 2.5)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Estimate, {"value": "1", "low": 1, "high": 1, "method": ""}),
        (Target, {"threads": 2.5}),
        (Target, {"threads": "2"}),
        (Outcome, {"kind": "fine"}),
        (Workload, {"kind": "decode", "batch": 0}),
        (Verdict, {"variant": "a", "status": "pass", "reasons": []}),
        (Finding, {"check": "a", "severity": "ERR", "cells": [], "summary": "", "cause": "", "remedy": ""}),
        (Absent, {"reason": ""}),
    ],
)
def test_wrong_values_are_refused(kind: type[Record], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.from_json(json.dumps(fields))


def test_a_mapping_cannot_be_changed_and_does_not_follow_its_source() -> None:
    source: dict[str, Any] = {"dtype": "bf16"}
    spec = TransformSpec(kind="cast", options=source)
    source["dtype"] = "fp16"
    assert spec.options["dtype"] == "bf16"
    with pytest.raises(TypeError):
        spec.options["dtype"] = "fp16"  # type: ignore[index]


def test_options_may_stand_beside_the_kind() -> None:
    beside = TransformSpec.from_json('{"kind": "palettize", "bits": 4, "skip": ["lm_head"]}')
    assert beside == TransformSpec(kind="palettize", options={"bits": 4, "skip": ("lm_head",)})


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.text(min_size=1).map(lambda r: Absent(reason=r))))
def test_a_measured_value_comes_back_from_json_bit_for_bit(value: float | Absent) -> None:
    assert MEASURED.validate_json(MEASURED.dump_json(value)) == value


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20), st.integers(0, 20), st.text(max_size=5))
def test_samples_round_trip_or_are_refused(values: list[float], warmup: int, metric: str) -> None:
    fields: dict[str, Any] = {"metric": metric, "values": tuple(values), "warmup": warmup}
    if warmup > len(values):
        with pytest.raises(ValidationError, match="warm-up"):
            Samples(**fields)
        return
    samples = Samples(**fields)
    assert Samples.from_json(samples.to_json()) == samples
    assert samples.steady == tuple(values[warmup:])


def test_columns_of_samples_have_one_length() -> None:
    with pytest.raises(ValidationError, match="block has 1 entries for 2 values"):
        Samples(metric="tpot_s", values=(1.0, 2.0), block=(0,))
    with pytest.raises(ValidationError, match="started_s has 3 entries for 2 values"):
        Samples(metric="tpot_s", values=(1.0, 2.0), started_s=(0.0, 1.0, 2.0))


def test_equal_content_has_one_digest_whatever_the_order_of_its_keys() -> None:
    one = TransformSpec(kind="palettize", options={"bits": 4, "output_channels": 8})
    other = TransformSpec(kind="palettize", options={"output_channels": 8, "bits": 4})
    assert one.content_digest == other.content_digest
    assert one.content_digest != TransformSpec(kind="palettize", options={"bits": 4}).content_digest


def test_a_metric_may_be_a_number_an_estimate_or_absent_and_stays_so() -> None:
    absent = Absent(reason="no logits")
    quality = Quality(
        study="s", variant="v", artifact="a", target=Target(), reference="r", text="t", text_digest="d", tokens=1,
        context=8, metrics={"perplexity": 3.0, "kl_nats": ESTIMATE, "psnr_db": absent}, sample_prompt="",
        sample_text=absent, outcome=Outcome(kind="ok"),
    )  # fmt: skip
    assert dict(Quality.from_json(quality.to_json()).metrics) == {
        "perplexity": 3.0,
        "kl_nats": ESTIMATE,
        "psnr_db": absent,
    }


def test_names_of_workloads() -> None:
    names = {
        ("load", 0, 0, 1): "load",
        ("prefill", 512, 0, 1): "prefill 512",
        ("decode", 128, 64, 1): "decode 128+64",
        ("generate", 128, 64, 4): "generate 128+64 x4",
    }
    for (kind, prompt, new, batch), name in names.items():
        fields = {"kind": kind, "prompt_tokens": prompt, "new_tokens": new, "batch": batch}
        assert Workload.model_validate(fields).name == name


def test_defaults_say_why_they_are_absent() -> None:
    source = ModelSource(kind="random", location="here", digest="d")
    for value in (source.revision, source.quantisation):
        assert isinstance(value, Absent)
        assert value.reason


def test_memory_may_be_wholly_absent() -> None:
    absent = Absent(reason="no probe")
    fields = dict.fromkeys(Memory.model_fields, absent)
    assert Memory(**fields).peak_bytes == absent  # type: ignore[arg-type]


def test_metrics_have_a_unit_and_their_suffix_tells_it() -> None:
    suffixes = {"_s": "s", "_bytes": "B", "_j": "J", "_w": "W", "_nats": "nats", "_db": "dB", "tok_per_s": "tok/s"} | {
        "items_per_s": "1/s",
        "sequences_per_s": "seq/s",
        "flops_per_s": "FLOP/s",
    }
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.title
        found = [unit for suffix, unit in suffixes.items() if name.endswith(suffix)]
        if found:
            assert metric.unit == found[-1], name
    with pytest.raises(KeyError):
        METRICS["speed"]
    with pytest.raises(TypeError):
        METRICS["speed"] = METRICS["mfu"]  # type: ignore[index]
