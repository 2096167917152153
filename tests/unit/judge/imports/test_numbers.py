"""Numbers as people write them, each against the value that a reader takes from it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.records import Absent
from assay.judge.imports.numbers import decimal_of, float_of, number_in, plain
from assay.judge.imports.units import unit_of


@pytest.mark.parametrize(
    ("written", "value", "std", "base"),
    [
        ("12.3", 12.3, None, None),
        ("**12.3** ⬆️", 12.3, None, None),
        ("12.3[^1]", 12.3, None, None),
        ("`12`", 12.0, None, None),
        ("~~12~~ 🔥", 12.0, None, None),
        ("≈ 12 ms", 12.0, None, "s"),
        ("−0.12 ms", -0.12, None, "s"),
        ("1,234.5 tok/s", 1234.5, None, "tok/s"),
        ("1 234", 1234.0, None, None),
        ("1'234'567", 1234567.0, None, None),
        ("1e-3 s", 1e-3, None, "s"),
        ("12.3 ± 1.2", 12.3, 1.2, None),
        ("12.3±1.2 ms", 12.3, 1.2, "s"),
        ("12.3 +/- 1.2", 12.3, 1.2, None),
        ("12.3 (1.2)", 12.3, 1.2, None),
        ("12.3 ms (1.2 ms)", 12.3, 1.2, "s"),
        ("12.3(4)", 12.3, 0.4, None),
        ("12.3 ms ± 102 µs per loop (mean ± std. dev. of 7 runs, 100 loops each)", 12.3, 0.102, "s"),
        ("12 (std 3)", 12.0, 3.0, None),
        ("45 %", 45.0, None, "1"),
        ("3.56 GiB", 3.56, None, "B"),
        ("7.5 J/token", 7.5, None, "J/tok"),
    ],
)
def test_a_number_is_read(written: str, value: float, std: float | None, base: str | None) -> None:
    read = number_in(plain(written))
    assert read is not None
    assert read.value == pytest.approx(value)
    assert read.std == pytest.approx(std) if std is not None else isinstance(read.std, Absent)
    assert (read.unit.base if read.unit else None) == base


@pytest.mark.parametrize(
    "written", ["", "-", "n/a", "OOM", "< 1", "fp16", "2024-01-01", "v1.2.3", "Q4_0", "12/30", "1.2.3"]
)
def test_what_is_no_number_is_none(written: str) -> None:
    assert number_in(plain(written)) is None


def test_a_range_keeps_its_ends_and_claims_one_digit() -> None:
    read = number_in("10–12 ms")
    assert read is not None
    assert (read.minimum, read.maximum, read.value, read.digits, read.is_range) == (10, 12, 11, 1, True)


def test_ratios_are_told_from_numbers() -> None:
    assert number_in("1.8x").is_ratio  # type: ignore[union-attr]
    assert number_in("× 1.8").is_ratio  # type: ignore[union-attr]
    beside = number_in("120 ms (1.8x)")
    assert beside is not None
    assert (beside.value, beside.ratio) == (120, 1.8)


def test_a_change_in_brackets_is_no_spread() -> None:
    for written in ("78 % (+3 %)", "78 (-3)", "78 (3 %)"):
        read = number_in(written)
        assert read is not None
        assert isinstance(read.std, Absent), written


def test_decimal_commas_are_seen_over_the_whole_table() -> None:
    assert decimal_of(["12,4", "1.234,5", "8"]) == ","
    assert decimal_of(["12.4", "1,234.5", "8"]) == "."
    assert decimal_of(["1,234", "5,678"]) == ".", "groups of three are thousands unless something says otherwise"
    assert number_in("1.234,5", ",").value == 1234.5  # type: ignore[union-attr]


@pytest.mark.parametrize(("written", "digits"), [("0.0120", 3), ("12", 2), ("1200", 4), ("1.20e-3", 3), ("0", 1)])
def test_significant_digits(written: str, digits: int) -> None:
    read = float_of(written)
    assert read is not None
    assert read[1] == digits


@pytest.mark.parametrize(
    ("written", "base", "factor"),
    [
        ("ms", "s", 1e-3),
        ("µs", "s", 1e-6),
        ("MiB", "B", 2**20),
        ("MB", "B", 1e6),
        ("kWh", "J", 3.6e6),
        ("mJ", "J", 1e-3),
        ("mW", "W", 1e-3),
        ("tokens per second", "tok/s", 1),
        ("samples/s", "1/s", 1),
        ("TFLOPS", "FLOP/s", 1e12),
        ("GFLOP/s", "FLOP/s", 1e9),
        ("%", "1", 0.01),
        ("ms/token", "s/tok", 1e-3),
        ("M", "count", 1e6),
    ],
)
def test_units(written: str, base: str, factor: float) -> None:
    unit = unit_of(written)
    assert unit is not None
    assert (unit.base, unit.factor) == (base, pytest.approx(factor))


@given(st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 6)))
def test_what_python_writes_is_read_back(value: float) -> None:
    assert float_of(repr(value)) is not None
    assert float_of(repr(value))[0] == pytest.approx(value, rel=1e-12)  # type: ignore[index]


@settings(max_examples=300)
@given(st.text(alphabet="0123456789.,±()[]-–x× msGiB%/+e'\u202f|*_`~<>", max_size=150))
def test_no_text_breaks_the_reader(text: str) -> None:
    number_in(plain(text))
    number_in(plain(text), ",")
