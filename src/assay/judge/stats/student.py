"""Student's t by the incomplete beta function: tails and quantiles. It refuses degrees of freedom below one."""

from __future__ import annotations

import math

from assay.core.errors import InputError

_STEPS = 300
_TINY = 1e-300


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by the continued fraction DLMF 8.17.22 (modified Lentz)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    numerator, denominator = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    fraction = denominator
    for m in range(1, _STEPS):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            denominator = 1 / _apart(1 + step * denominator)
            numerator = _apart(1 + step / numerator)
            change = denominator * numerator
            fraction *= change
        if abs(change - 1) < 1e-15:
            break
    return math.exp(log_front) * fraction / a


def _apart(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def two_sided_p(t: float, degrees: float) -> float:
    """P(|T| >= |t|) for Student's t.

    Raises:
        InputError: fewer than one degree of freedom.
    """
    if degrees < 1:
        raise InputError("Student's t", f"{degrees:g} degrees of freedom", "It needs at least one.")
    return 1.0 if t == 0 else incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def quantile(p: float, degrees: float) -> float:
    """t with P(T <= t) = p, by bisection.

    Raises:
        InputError: p is not between 0 and 1, or fewer than one degree of freedom.
    """
    if not 0 < p < 1:
        raise InputError("a quantile of Student's t", f"p = {p!r}", "Give a probability between 0 and 1.")
    if p < 0.5:
        return -quantile(1 - p, degrees)
    low, high = 0.0, 1.0
    while two_sided_p(high, degrees) / 2 > 1 - p:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, degrees) / 2 > 1 - p else (low, middle)
    return (low + high) / 2
