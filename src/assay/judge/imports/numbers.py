"""Numbers as people write them in a cell: spread, range, unit, per cent, ratio. It refuses bounds such as `< 1`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from assay.core.records import Absent, Measured
from assay.judge.imports.units import Unit, unit_of

Decimal = Literal[".", ","]

_NO_SPREAD = Absent(reason="the cell gives none")
_MARKS = re.compile(
    r"\[\^[^\]]{1,20}\]|<su[pb]>.{0,20}?</su[pb]>|<[^<>]{0,60}>|!?\[([^\]]{0,200})\]\([^)]{0,300}\)", re.IGNORECASE
)
_EMPHASIS = re.compile(r"\*{1,3}|__|`|~~|\\(?=[%_*#&$|])|\$")
_ORNAMENT = re.compile(r"[^\w\s.,;:%±×+\-−–—/()\[\]<>≤≥~≈=@#'’µμ∞²³^|\"&!?*·…]+", re.UNICODE)
_TAIL = re.compile(r"[\s*†‡§¹²³⁴⁵⁶⁷⁸⁹]+$")
_GROUPED = r"\d{1,3}(?:[ \u00a0\u202f'’_]\d{3})+"
_DIGITS = rf"(?:{_GROUPED}|\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d{{1,3}})?"
NUMBER = rf"[+\-−]?\s?{_DIGITS}"
_UNIT = r"[^\d\s±()\[\]+\-−–—,;:]?[^\d±()\[\];:,]{0,24}"
_SPREAD = re.compile(
    rf"(?P<a>{NUMBER})\s*(?P<au>{_UNIT}?)\s*(?:±|\+/-|\+-|\\pm)\s*(?P<b>{_DIGITS})\s*(?P<bu>.{{0,90}})"
)
_BRACKET = re.compile(
    rf"(?P<a>{NUMBER})\s*(?P<au>{_UNIT}?)(?P<gap>\s*)[(\[]\s*(?P<sign>[±×x+\-−σ~]?(?:std|sd|s\.d\.)?[ =:]{{0,3}})"
    rf"(?P<b>{_DIGITS})\s*(?P<bu>[^()\[\]]{{0,20}})[)\]]\s*(?P<end>{_UNIT})"
)
_RANGE = re.compile(
    rf"(?P<a>{_DIGITS})\s*(?P<au>{_UNIT}?)\s*(?:-|–|—|−|…|\.\.\.?|to|bis)\s*(?P<b>{_DIGITS})\s*(?P<bu>.{{0,24}})"
)
_RATIO = re.compile(rf"(?:[×x]\s?(?P<a>{_DIGITS})|(?P<b>{_DIGITS})\s?[×xX])")
_PLAIN = re.compile(rf"(?P<a>{NUMBER})\s*(?P<au>.{{0,24}})")
_PREFIXED = re.compile(r"^(?:~|≈|≃|ca\.|circa|about|approx\.?)\s*", re.IGNORECASE)
EMPTY = frozenset(
    {"", "-", "–", "—", "n/a", "na", "n.a.", "nan", "none", "null", "/", "?", "tbd", "todo", "...", "…", "x"}
)


@dataclass(frozen=True)
class Number:
    """What a cell says: a value in its own unit, with spread and extremes in the same unit."""

    value: float
    digits: int
    unit: Unit | None = None
    std: Measured = _NO_SPREAD
    minimum: Measured = _NO_SPREAD
    maximum: Measured = _NO_SPREAD
    ratio: float | None = None
    """A second number in brackets that is a ratio, such as `(1.8x)`."""
    is_ratio: bool = False
    is_range: bool = False


def plain(text: str) -> str:
    """A cell without markup, footnotes, arrows and emoji."""
    text = _MARKS.sub(lambda mark: mark[1] or "", text)
    text = _EMPHASIS.sub("", text)
    text = _ORNAMENT.sub(" ", text)
    return re.sub(r"\s+", " ", _TAIL.sub("", text)).strip()


def number_in(text: str, decimal: Decimal = ".") -> Number | None:
    """The number that a cell holds, or None where it holds none or more than one can be told apart.

    Args:
        text: the cell without markup (`plain`).
        decimal: what the table writes before the fraction.
    """
    if text.casefold() in EMPTY or len(text) > 120:
        return None
    text = _PREFIXED.sub("", text)
    if not any(letter.isdigit() for letter in text):
        return None
    for pattern, read in (
        (_SPREAD, _spread),
        (_BRACKET, _bracket),
        (_RANGE, _range),
        (_RATIO, _ratio),
        (_PLAIN, _plain),
    ):
        found = pattern.fullmatch(text)
        number = read(found, decimal) if found else None
        if number is not None:
            return number
    return None


def float_of(text: str, decimal: Decimal = ".") -> tuple[float, int] | None:
    """A written number and its significant digits; None where it is none."""
    text = re.sub(r"[\s\u00a0\u202f'’_]", "", text).replace("−", "-").lstrip("+")
    mantissa, _, exponent = text.casefold().partition("e")
    other = "," if decimal == "." else "."
    if other in mantissa:
        head, *groups = mantissa.split(other)
        last = groups[-1].partition(decimal)[0]
        if decimal in head or any(len(group) != 3 for group in [*groups[:-1], last]) or not head.lstrip("-"):
            return None
        mantissa = mantissa.replace(other, "")
    mantissa = mantissa.replace(decimal, ".")
    if mantissa.count(".") > 1 or not re.fullmatch(r"-?(?:\d+\.?\d*|\.\d+)", mantissa) or len(mantissa) > 40:
        return None
    value = float(f"{mantissa}e{exponent or 0}")
    if value in (float("inf"), float("-inf")):
        return None
    digits = mantissa.lstrip("-").replace(".", "").lstrip("0")
    return value, max(len(digits), 1)


def decimal_of(texts: Iterable[str]) -> Decimal:
    """What a table writes before the fraction: a comma only where some number says so and none contradicts it."""
    comma = point = 0
    for text in texts:
        for written in re.findall(r"\d[\d.,]*", text[:80]):
            written = written.rstrip(".,")
            if re.fullmatch(r"\d+,(?:\d{1,2}|\d{4,})|0,\d+|\d{1,3}(?:\.\d{3})+,\d+", written):
                comma += 1
            elif re.fullmatch(r"\d+\.(?:\d{1,2}|\d{4,})|0\.\d+|\d{4,}\.\d+|\d{1,3}(?:,\d{3})+\.\d+", written):
                point += 1
    return "," if comma and not point else "."


def _units(first: str, second: str) -> tuple[Unit | None, Unit | None] | None:
    """Units of two numbers; one that is not written is the other's. None where a text is no unit."""
    a, b = (unit_of(text) if text.strip() else None for text in (first, second))
    if (first.strip() and a is None) or (second.strip() and b is None):
        return None
    return a or b, b or a


def _spread(found: re.Match[str], decimal: Decimal) -> Number | None:
    tail = re.sub(r"\s*(?:\bper loop\b|\(?mean\b|\(?std\b).*", "", found["bu"])
    a, b = float_of(found["a"], decimal), float_of(found["b"], decimal)
    if b is not None and tail.strip() == "%" and not found["au"].strip() and a is not None:
        return Number(a[0], a[1], None, std=abs(a[0]) * b[0] / 100)
    units = _units(found["au"], tail)
    if a is None or b is None or units is None:
        return None
    return Number(a[0], a[1], units[0], std=b[0] * _relative(units))


def _relative(units: tuple[Unit | None, Unit | None]) -> float:
    return units[1].factor / units[0].factor if units[0] and units[1] else 1.0


def _bracket(found: re.Match[str], decimal: Decimal) -> Number | None:
    a, b = float_of(found["a"], decimal), float_of(found["b"], decimal)
    if a is None or b is None:
        return None
    unit = unit_of(found["au"] or found["end"])
    if (found["au"] or found["end"]).strip() and unit is None:
        return None
    second, sign = found["bu"].strip().casefold(), found["sign"].strip()
    if second in ("x", "×") or sign in ("x", "×"):
        return Number(a[0], a[1], unit, ratio=b[0])
    if sign in ("+", "-", "−") or (second and unit_of(second) is None) or second == "%":
        return Number(a[0], a[1], unit)
    spread = b[0]
    if not found["gap"] and not found["au"] and "." in found["a"] and re.fullmatch(r"\d+", found["b"]):
        spread *= 10.0 ** -len(found["a"].partition(".")[2])  # 12.3(4) is 12.3 +- 0.4
    inner = unit_of(second) if second else None
    return Number(a[0], a[1], unit or inner, std=spread * (inner.factor / unit.factor if inner and unit else 1.0))


def _range(found: re.Match[str], decimal: Decimal) -> Number | None:
    a, b, units = float_of(found["a"], decimal), float_of(found["b"], decimal), _units(found["au"], found["bu"])
    if a is None or b is None or units is None or a[0] >= b[0]:
        return None
    return Number((a[0] + b[0]) / 2, 1, units[1], minimum=a[0], maximum=b[0], is_range=True)


def _ratio(found: re.Match[str], decimal: Decimal) -> Number | None:
    read = float_of(found["a"] or found["b"], decimal)
    return Number(read[0], read[1], is_ratio=True) if read else None


def _plain(found: re.Match[str], decimal: Decimal) -> Number | None:
    read, unit = float_of(found["a"], decimal), unit_of(found["au"])
    if read is None or (found["au"].strip() and unit is None):
        return None
    return Number(read[0], read[1], unit)
