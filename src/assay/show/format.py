"""Numbers and text as people read them: units, digits, visible control characters. It computes no result."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from assay.core.metrics import METRICS
from assay.core.records import Absent, Estimate, Measured

MISSING = "–"
"""Stands for an Absent; its reason is in the notes."""


@dataclass(frozen=True)
class Scale:
    """How a recorded unit is written: the shown unit, and what the number is multiplied by."""

    unit: str
    factor: float
    digits: int
    """Significant digits."""


_BY_METRIC = {
    "bits_per_weight": Scale("bit", 1, 4),
    "load_s": Scale("s", 1, 3),
    "import_s": Scale("s", 1, 3),
    "compile_s": Scale("s", 1, 3),
    "first_call_s": Scale("s", 1, 3),
    "end_to_end_s": Scale("s", 1, 4),
    "cpu_s": Scale("s", 1, 4),
    "perplexity": Scale("", 1, 4),
    "perplexity_ratio": Scale("", 1, 5),
    "rms_probability_difference": Scale("", 1, 3),
    "max_logit_difference": Scale("", 1, 3),
    "text_compression": Scale("", 1, 3),
    "text_longest_word": Scale("", 1, 3),
    "cosine_mean": Scale("", 1, 7),
    "cosine_min": Scale("", 1, 7),
    "encode_s": Scale("ms", 1e3, 4),
}
_BY_UNIT = {
    "B": Scale("MB", 1e-6, 4),
    "s": Scale("ms", 1e3, 4),
    "tok/s": Scale("tok/s", 1, 4),
    "seq/s": Scale("seq/s", 1, 4),
    "nats": Scale("nats", 1, 3),
    "bit": Scale("bit", 1, 4),
    "J": Scale("J", 1, 4),
    "W": Scale("W", 1, 3),
    "dB": Scale("dB", 1, 3),
    "1": Scale("%", 100, 3),
    "1/s": Scale("/s", 1, 4),
    "FLOP/s": Scale("TFLOP/s", 1e-12, 4),
}


def base_metric(key: str) -> str:
    """`decode_tok_per_s` of `decode_tok_per_s@decode 128+64`."""
    return key.partition("@")[0]


def workload_of(key: str) -> str:
    """`decode 128+64` of `decode_tok_per_s@decode 128+64`; empty where the key names none."""
    return key.partition("@")[2]


def scale_of(key: str) -> Scale:
    """The scale of a metric's key. A metric that `core.metrics` does not know is shown as it is recorded."""
    metric = base_metric(key)
    if metric in _BY_METRIC:
        return _BY_METRIC[metric]
    return _BY_UNIT[METRICS[metric].unit] if metric in METRICS else Scale("", 1, 4)


def title_of(key: str) -> str:
    """What a metric is called, with its workload where the key names one."""
    metric = base_metric(key)
    title = METRICS[metric].title if metric in METRICS else metric
    workload = workload_of(key)
    return f"{title}, {workload}" if workload else title


def significant(value: float, digits: int) -> str:
    """`value` to so many significant digits, without an exponent between 1e-4 and 1e9.

    Whole digits are never rounded away: 3412.4 is 3412, not 3410.
    """
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.{digits - 1}e}"
    exponent = int(f"{abs(value):.{digits - 1}e}".partition("e")[2])
    return f"{value:.{max(digits - 1 - exponent, 0)}f}"


def number(key: str, value: float) -> str:
    """A number of a metric in its shown unit, without the unit."""
    scale = scale_of(key)
    if scale.unit == "%":
        return f"{value * scale.factor:.1f}"
    return significant(value * scale.factor, scale.digits)


def measured(key: str, value: Measured | Estimate) -> str:
    """A number, an estimate's value, or the sign for what is missing."""
    if isinstance(value, Absent):
        return MISSING
    return number(key, value.value if isinstance(value, Estimate) else value)


def interval(key: str, value: Measured | Estimate) -> str:
    """`low … high` of an estimate, to one digit less than the number; empty for anything else."""
    if not isinstance(value, Estimate):
        return ""
    scale = scale_of(key)
    if scale.unit == "%":
        return f"{number(key, value.low)} … {number(key, value.high)}"
    low, high = (significant(bound * scale.factor, max(scale.digits - 1, 2)) for bound in (value.low, value.high))
    return f"{low} … {high}"


def ratio(value: Estimate | Absent) -> str:
    """`×1.458`, or the sign for what is missing."""
    return MISSING if isinstance(value, Absent) else f"×{value.value:.3f}"


def ratio_interval(value: Estimate | Absent) -> str:
    """`1.431 … 1.485`, or the sign for what is missing."""
    return MISSING if isinstance(value, Absent) else f"{value.low:.3f} … {value.high:.3f}"


def percent(fraction: Measured) -> str:
    """`3.1 %`, or the sign for what is missing."""
    return MISSING if isinstance(fraction, Absent) else f"{100 * fraction:.1f} %"


def figure(value: float | str) -> str:
    """A number of a finding, of no known unit: whole ones whole, others to four digits."""
    if isinstance(value, str):
        return one_line(value)
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e12 else f"{value:.4g}"


def amount(value: float | str) -> str:
    """A number of no known unit, as it was written."""
    return one_line(value) if isinstance(value, str) else f"{value:.10g}"


def duration(seconds: float) -> str:
    """`41 s`, `4 min 34 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def bytes_text(value: float) -> str:
    """Bytes in kB, MB or GB (powers of ten)."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{significant(value / size, 3)} {unit}"
    return f"{value:.0f} B"


_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_KEPT = {"\n", "\t", "\u200d", "\u200c", "\ufe0f"}
"""Joiners and variation selectors are parts of scripts and emoji."""


def visible(text: str) -> str:
    """Text from outside with its control characters spelled out, so that it cannot steer a terminal or a page.

    Newlines, tabs and joiners stay; escapes, direction overrides and lone surrogates are written as `\\x1b`.
    """
    return "".join(letter if letter in _KEPT or not _is_invisible(letter) else _spelled(letter) for letter in text)


def one_line(text: str) -> str:
    """`visible` text with every run of white space as one space."""
    return re.sub(r"\s+", " ", visible(text)).strip()


def ascii_only(text: str) -> str:
    """Text for a terminal that knows nothing but ASCII; what has no likeness is spelled out."""
    for letter, likeness in (("×", "x"), ("–", "-"), ("—", "-"), ("…", ".."), ("·", "."), ("≥", ">="), ("≤", "<=")):
        text = text.replace(letter, likeness)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _is_invisible(letter: str) -> bool:
    return unicodedata.category(letter) in _INVISIBLE


def _spelled(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
