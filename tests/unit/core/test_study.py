"""The study: unknown keys, wrong values and double names are refused, each with its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from assay.core.study import Gate, MeasurePolicy, QualityPlan, Study, StudyVariant

PLAIN: dict[str, Any] = {
    "model": "smollm2-135m",
    "baseline": "bf16",
    "reference": "fp32",
    "variants": [{"name": "fp32"}, {"name": "bf16", "transforms": [{"kind": "cast", "dtype": "bf16"}]}],
}


def read(**changes: Any) -> Study:
    return Study.from_json(json.dumps(PLAIN | changes))


def test_a_plain_study_has_the_defaults() -> None:
    study = read()
    assert [workload.name for workload in study.workloads] == ["load", "prefill 512", "decode 128+64"]
    assert study.variants[1].transforms[0].options == {"dtype": "bf16"}
    assert study.variants[0].runtimes == ("torch",)
    assert Study.from_json(study.to_json()) == study


@pytest.mark.parametrize(
    "changes",
    [
        {"basline": "bf16"},
        {"variants": [*PLAIN["variants"], {"name": "x", "transform": []}]},
        {"gate": {"min_speed": 1.0}},
        {"quality": {"stride": 512}},
        {"measure": {"runs": 10}},
        {"workloads": [{"kind": "decode", "prompt": 8}]},
        {"variants": [*PLAIN["variants"], {"name": "x", "decoding": {"cache": "none"}}]},
    ],
)
def test_an_unknown_key_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        read(**changes)
    assert caught.value.errors()[0]["type"] == "extra_forbidden"
    assert str(caught.value.errors()[0]["loc"][-1]) in json.dumps(changes)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model": ""}, "model"),
        ({"variants": []}, "variants"),
        ({"device": "tpu"}, "device"),
        ({"threads": -1}, "threads"),
        ({"workloads": [{"kind": "train"}]}, "kind"),
        ({"gate": {"min_speedup": 0}}, "min_speedup"),
        ({"gate": {"min_top1_agreement": 1.1}}, "min_top1_agreement"),
        ({"quality": {"context": 4}}, "context"),
        ({"measure": {"margin": 1.0}}, "margin"),
        ({"measure": {"min_rounds": 1}}, "min_rounds"),
        ({"variants": [*PLAIN["variants"], {"name": "a b"}]}, "name"),
        ({"variants": [*PLAIN["variants"], {"name": ""}]}, "name"),
        ({"variants": [*PLAIN["variants"], {"name": "x", "runtimes": "torch"}]}, "runtimes"),
    ],
)
def test_a_wrong_value_is_refused_by_name(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(**changes)
    assert any(word in map(str, error["loc"]) for error in caught.value.errors())


def test_workloads_of_different_batches_are_refused_and_training_is_apart() -> None:
    with pytest.raises(ValidationError, match="'prefill 128' and 'decode 128\\+64 x4' differ in their batch"):
        read(workloads=[{"kind": "prefill"}, {"kind": "decode", "batch": 4}])
    assert read(workloads=[{"kind": "prefill"}, {"kind": "train_step", "batch": 4}])


def test_two_variants_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two variants are named 'fp32'"):
        read(variants=[*PLAIN["variants"], {"name": "fp32"}])


@pytest.mark.parametrize("role", ["baseline", "reference"])
def test_a_role_names_a_variant(role: str) -> None:
    with pytest.raises(ValidationError, match=f"{role} = 'fp16' is no variant; the variants are fp32, bf16"):
        read(**{role: "fp16"})


@pytest.mark.parametrize("kind", [Study, StudyVariant, Gate, QualityPlan, MeasurePolicy])
def test_every_key_is_explained_for_editors(kind: type[Study]) -> None:
    for name, field in kind.model_fields.items():
        assert field.description, name
