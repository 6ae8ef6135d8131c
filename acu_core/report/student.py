"""Student's t distribution, as far as an interval needs it.

Neither NumPy nor PyTorch has its quantiles, and SciPy would be the largest package of an installation for these two
functions alone. The regularised incomplete beta function is computed by its continued fraction (Press et al., Numerical
Recipes, 6.4), the quantile by halving.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_PRECISION = 1e-15
_MOST_STEPS = 10_000


def t_quantile(level: float, degrees: float) -> float:
    """The t that a value stays within, on either side of 0, with probability `level`; some ten digits of it.

    `degrees` of freedom are above 0, need not be whole, and are thousands at most: beyond, digits are lost.
    Raises ValueError unless `level` is between 0 and 1.
    """
    if not 0 < level < 1 or not 0 < degrees < math.inf:
        raise ValueError(f"a level between 0 and 1 and degrees of freedom above 0 are needed, got {level}, {degrees}")
    low, high = 0.0, 1.0
    while _beyond(high, degrees) > 1 - level:
        low, high = high, 2 * high
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return middle
        low, high = (middle, high) if _beyond(middle, degrees) > 1 - level else (low, middle)


def _beyond(t: float, degrees: float) -> float:
    """The probability of a value farther from 0 than `t`."""
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a and b above 0 and x from 0 to 1."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    # The fraction converges fast only on this side of the mean.
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    logarithm = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(logarithm) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, by Lentz's method."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            value *= c * d
        if abs(value - before) <= _PRECISION * abs(value):
            return value
    raise ArithmeticError(f"I_{x}({a}, {b}) does not converge")


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
