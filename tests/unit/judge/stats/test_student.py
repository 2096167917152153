"""Student's t against scipy."""

from __future__ import annotations

import pytest
from scipy import special, stats

from assay.core.errors import InputError
from assay.judge.stats.student import incomplete_beta, quantile, two_sided_p


@pytest.mark.parametrize("degrees", [1, 2, 3, 8, 38, 500, 1e5])
@pytest.mark.parametrize("t", [0.0, 0.01, 0.7, 2.0, 5.0, 40.0])
def test_tails(t: float, degrees: float) -> None:
    assert two_sided_p(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-9, abs=1e-300)
    assert two_sided_p(-t, degrees) == two_sided_p(t, degrees)


@pytest.mark.parametrize("degrees", [1, 4, 39])
@pytest.mark.parametrize("p", [1e-6, 0.025, 0.3, 0.5, 0.975, 0.9999])
def test_quantiles(p: float, degrees: float) -> None:
    assert quantile(p, degrees) == pytest.approx(stats.t.ppf(p, degrees), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize(("a", "b", "x"), [(0.5, 0.5, 0.2), (3, 7, 0.9), (50, 0.5, 0.99), (2, 2, 0.0), (2, 2, 1.0)])
def test_incomplete_beta(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-10)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError):
        two_sided_p(1, 0)
    for p in (0.0, 1.0):
        with pytest.raises(InputError):
            quantile(p, 5)
