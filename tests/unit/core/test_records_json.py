"""Records read from JSON equal the records that wrote it: a validator that runs before must not break their tuples."""

import pytest

from assay.core.records import Absent, Outcome, Target, TransformSpec, Verdict, Versioned
from assay.core.study import Study

TRANSFORM = TransformSpec(kind="cast", options={"dtype": "bf16", "layers": (1, 2), "names": ("a", "b")})


class Nest(Versioned):
    transforms: tuple[TransformSpec, ...]
    verdicts: tuple[Verdict, ...]
    numbers: tuple[float, ...]
    measured: float | Absent
    target: Target
    outcome: Outcome


def test_a_versioned_record_with_tuples_comes_back_equal() -> None:
    nest = Nest(
        transforms=(TRANSFORM,),
        verdicts=(Verdict(variant="int8", status="pass", reasons=("faster",)),),
        numbers=(1.0, 0.25),
        measured=Absent(reason="no meter"),
        target=Target(),
        outcome=Outcome(kind="ok"),
    )
    assert Nest.from_json(nest.to_json()) == nest


def test_a_transform_comes_back_equal_in_both_spellings() -> None:
    assert TransformSpec.from_json(TRANSFORM.to_json()) == TRANSFORM
    flat = '{"kind": "cast", "dtype": "bf16", "layers": [1, 2], "names": ["a", "b"]}'
    assert TransformSpec.from_json(flat) == TRANSFORM


def test_a_study_comes_back_equal() -> None:
    study = Study.from_json(
        '{"model": "m", "baseline": "a", "reference": "a", '
        '"variants": [{"name": "a", "transforms": [{"kind": "x", "n": [1]}]}]}'
    )
    assert study.variants[0].transforms[0].options == {"n": (1,)}
    assert Study.from_json(study.to_json()) == study


def test_a_wrong_type_is_still_refused() -> None:
    with pytest.raises(ValueError, match="reasons"):
        Verdict.from_json('{"variant": "a", "status": "pass", "reasons": "faster"}')
