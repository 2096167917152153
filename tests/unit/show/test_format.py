import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.metrics import METRICS
from assay.core.records import Absent, Estimate
from assay.show import format as shown


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [
        (0.0, 3, "0"),
        (3412.4, 4, "3412"),
        (3412.4, 2, "3412"),
        (48.9, 4, "48.90"),
        (0.00041, 3, "0.000410"),
        (9.999, 3, "10.0"),
        (0.00001234, 3, "1.23e-05"),
        (1.5e12, 3, "1.50e+12"),
        (-2.5, 2, "-2.5"),
    ],
)
def test_significant(value: float, digits: int, written: str) -> None:
    assert shown.significant(value, digits) == written


@given(st.floats(-1e300, 1e300), st.integers(2, 8))
def test_significant_keeps_its_promise(value: float, digits: int) -> None:
    written = float(shown.significant(value, digits))
    assert math.isclose(written, value, rel_tol=0.5000001 * 10.0 ** (1 - digits), abs_tol=0)


@pytest.mark.parametrize(
    ("key", "value", "written", "unit"),
    [
        ("weight_bytes", 269_030_016.0, "269.0", "MB"),
        ("load_s", 0.3401, "0.340", "s"),
        ("tpot_s", 0.02045, "20.45", "ms"),
        ("top1_agreement", 0.9672, "96.7", "%"),
        ("top1_agreement", 1.0, "100.0", "%"),
        ("perplexity", 29.163, "29.16", ""),
        ("decode_tok_per_s@decode 128+64", 71.3, "71.30", "tok/s"),
        ("unheard_of", 1.5, "1.500", ""),
    ],
)
def test_numbers_in_shown_units(key: str, value: float, written: str, unit: str) -> None:
    assert (shown.number(key, value), shown.scale_of(key).unit) == (written, unit)


def test_every_metric_has_a_scale() -> None:
    for name in METRICS:
        assert shown.number(name, 0.5)


def test_missing_numbers_are_never_zero() -> None:
    absent = Absent(reason="no meter")
    assert shown.measured("energy_j", absent) == shown.MISSING
    assert shown.ratio(absent) == shown.ratio_interval(absent) == shown.percent(absent) == shown.MISSING
    assert shown.interval("energy_j", absent) == shown.interval("energy_j", 2.0) == ""


def test_an_estimate_shows_its_interval() -> None:
    estimate = Estimate(value=1.4581, low=1.4312, high=1.4853, method="m")
    assert shown.ratio(estimate) == "×1.458"
    assert shown.ratio_interval(estimate) == "1.431 … 1.485"
    assert shown.interval("load_s", estimate) == "1.4 … 1.5"


@pytest.mark.parametrize(
    ("seconds", "written"), [(41.4, "41 s"), (274, "4 min 34 s"), (7500, "2 h 5 min"), (59.7, "1 min 0 s")]
)
def test_duration(seconds: float, written: str) -> None:
    assert shown.duration(seconds) == written


def test_text_cannot_steer_a_terminal_but_scripts_and_emoji_stay() -> None:
    assert shown.visible("\x1b[31m\x07\u202e\x9b\ud800") == "\\x1b[31m\\x07\\u202e\\x9b\\ud800"
    kept = "灯台 الحارس é 👩‍🚀 ❤️\n\ttab"
    assert shown.visible(kept) == kept
    assert shown.one_line(" a\n\n b\tc ") == "a b c"


@given(st.text())
def test_visible_text_has_no_control_character(text: str) -> None:
    written = shown.visible(text)
    assert not [letter for letter in written if unicodedata.category(letter) in {"Cc", "Cs"} and letter not in "\n\t"]
    assert shown.visible(written) == written


@given(st.text())
def test_ascii_only_is_ascii(text: str) -> None:
    assert shown.ascii_only(text).isascii()
