"""Which workers are alive together, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.records import Absent, Workload
from assay.pipeline import fitting

NEEDS = {"base": 40.0, "a": 30.0, "b": 30.0, "c": 10.0, "huge": 500.0}


def test_all_are_together_where_they_fit():
    assert fitting.groups("base", ["a", "b", "c"], NEEDS, 200.0) == (("base", "a", "b", "c"),)


def test_the_baseline_is_in_every_group():
    assert fitting.groups("base", ["a", "b", "c"], NEEDS, 100.0) == (("base", "a", "c"), ("base", "b"))


def test_one_that_fits_with_nobody_still_has_its_turn():
    assert fitting.groups("base", ["a", "huge"], NEEDS, 100.0) == (("base", "a"), ("base", "huge"))
    assert fitting.together("base", ["huge"], NEEDS, 100.0) == ["base"]


def test_what_is_not_known_keeps_nobody_out():
    unknown = Absent(reason="not told")
    assert fitting.groups("base", ["a", "huge"], NEEDS, unknown) == (("base", "a", "huge"),)
    assert fitting.groups("base", ["a"], {"base": 40.0, "a": unknown}, 50.0) == (("base", "a"),)
    assert fitting.groups("", ["a"], NEEDS, 50.0) == (("a",),)


@given(st.lists(st.floats(1, 100), min_size=1, max_size=6), st.floats(1, 400))
def test_every_row_is_in_exactly_one_group(sizes, available):
    needs = {"base": 20.0} | {str(place): size for place, size in enumerate(sizes)}
    groups = fitting.groups("base", [name for name in needs if name != "base"], needs, available)
    assert sorted(name for group in groups for name in group if name != "base") == sorted(set(needs) - {"base"})
    for group in groups:
        assert group[0] == "base"
        assert len(group) == 2 or sum(needs[name] for name in group) <= fitting.SHARE * available


@pytest.mark.parametrize(
    ("larger", "known", "is_at_least"),
    [
        (("prefill", 512, 0, 1), ("prefill", 512, 0, 1), True),
        (("prefill", 1024, 0, 1), ("prefill", 512, 0, 1), True),
        (("prefill", 256, 0, 1), ("prefill", 512, 0, 1), False),
        (("prefill", 512, 0, 4), ("prefill", 512, 0, 2), True),
        (("prefill", 1024, 0, 1), ("prefill", 512, 0, 2), False),
        (("decode", 512, 64, 1), ("prefill", 512, 64, 1), True),
        (("prefill", 512, 64, 1), ("decode", 512, 64, 1), False),
    ],
)
def test_larger_means_no_less_of_anything(larger, known, is_at_least):
    made = [
        Workload(kind=kind, prompt_tokens=prompt, new_tokens=new, batch=batch)
        for kind, prompt, new, batch in (larger, known)
    ]
    assert fitting.at_least(*made) is is_at_least
