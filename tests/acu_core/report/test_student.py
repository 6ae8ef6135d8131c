from __future__ import annotations

import math

import numpy as np
import pytest

from acu_core.report.student import incomplete_beta, t_quantile

# Two-sided 95 % and 99 %, as statistical tables print them.
TABLE = [
    (1, 12.7062, 63.6567),
    (2, 4.30265, 9.92484),
    (3, 3.18245, 5.84091),
    (4, 2.77645, 4.60409),
    (5, 2.57058, 4.03214),
    (6, 2.44691, 3.70743),
    (7, 2.36462, 3.49948),
    (8, 2.30600, 3.35539),
    (9, 2.26216, 3.24984),
    (10, 2.22814, 3.16927),
    (20, 2.08596, 2.84534),
    (30, 2.04227, 2.75000),
    (60, 2.00030, 2.66028),
    (120, 1.97993, 2.61742),
    (1000, 1.96234, 2.58075),
]


@pytest.mark.parametrize(("degrees", "at_95", "at_99"), TABLE)
def test_published_tables(degrees: int, at_95: float, at_99: float) -> None:
    assert f"{t_quantile(0.95, degrees):.6g}" == f"{at_95:.6g}"
    assert f"{t_quantile(0.99, degrees):.6g}" == f"{at_99:.6g}"


@pytest.mark.parametrize("level", [0.01, 0.5, 0.9, 0.95, 0.999, 0.999999])
def test_where_the_quantile_has_a_formula(level: float) -> None:
    assert t_quantile(level, 1) == pytest.approx(math.tan(math.pi * level / 2), rel=1e-9)
    assert t_quantile(level, 2) == pytest.approx(level * math.sqrt(2 / (1 - level * level)), rel=1e-9)


@pytest.mark.parametrize("degrees", [1.5, 49 / 17, 7.25, 400.0])
def test_the_density_within_it_sums_to_the_level(degrees: float) -> None:
    t = np.linspace(0.0, t_quantile(0.95, degrees), 20_001)
    factor = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)
    density = factor * (1 + t * t / degrees) ** (-(degrees + 1) / 2)
    weights = np.where(np.arange(len(t)) % 2, 4, 2)
    weights[[0, -1]] = 1
    assert 2 * float(weights @ density) * (t[1] - t[0]) / 3 == pytest.approx(0.95, abs=1e-10)


def test_scipy_agrees() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    for level in (0.5, 0.95, 0.999):
        for degrees in (1, 1.7, 2, 3.3, 12, 99.5):
            assert t_quantile(level, degrees) == pytest.approx(stats.t.ppf((1 + level) / 2, degrees), rel=1e-9)


def test_incomplete_beta() -> None:
    # I_x(1, b) = 1 - (1 - x)^b, I_x(a, 1) = x^a, and the symmetry.
    assert incomplete_beta(1, 3.5, 0.3) == pytest.approx(1 - 0.7**3.5, rel=1e-13)
    assert incomplete_beta(2.5, 1, 0.9) == pytest.approx(0.9**2.5, rel=1e-13)
    assert incomplete_beta(2, 5, 0.4) + incomplete_beta(5, 2, 0.6) == pytest.approx(1, rel=1e-13)
    assert (incomplete_beta(2, 3, 0), incomplete_beta(2, 3, 1)) == (0.0, 1.0)


@pytest.mark.parametrize(("level", "degrees"), [(0, 2), (1, 2), (0.95, 0), (0.95, math.inf), (math.nan, 2)])
def test_what_has_no_quantile(level: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_quantile(level, degrees)
