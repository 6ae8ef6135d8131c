"""The difference of two groups of runs, and whether it is more than luck."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from acu_core.report.student import t_quantile
from acu_core.sample import Sample

LEVEL = 0.95
PAIRED = "paired t"
WELCH = "Welch's t"
# Equal measurements differ by this share of themselves when they are floats.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """How much larger the mean of the second group is than that of the first, in the unit of both.

    `seeds` are those that both have, over which alone the difference is taken; where they share none it is that of the
    two means. `method` is how the interval of 95 % was found. Without an interval `reason` says why there is none.
    """

    difference: float
    seeds: tuple[int, ...]
    method: str
    interval: tuple[float, float] | None = None
    reason: str | None = None

    @property
    def lower(self) -> int | None:
        """Which group is lower, 0 or 1; None where 0 lies within the interval, or there is no interval."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return None
        return 0 if self.difference > 0 else 1

    @classmethod
    def between(cls, first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
        """That of two groups, each by seed; None where one of them is empty.

        A seed that both have gives a pair, whatever else they have: what the seed decides is the same in both. Only
        groups that share no seed are compared as independent ones, with unequal variances (Welch, 1947).
        """
        if not first or not second:
            return None
        shared = tuple(sorted(first.keys() & second.keys()))
        if shared:
            return _paired(first, second, shared)
        return _welch(Sample.of(first.values()), Sample.of(second.values()))


def _paired(first: Mapping[int, float], second: Mapping[int, float], seeds: tuple[int, ...]) -> Difference:
    differences = Sample.of(second[seed] - first[seed] for seed in seeds)
    mean, spread = differences.mean, differences.spread
    assert mean is not None
    if spread is None:
        return Difference(mean, seeds, PAIRED, reason=f"one shared seed ({seeds[0]}) says nothing about luck")
    largest = max(abs(values[seed]) for values in (first, second) for seed in seeds)
    if spread <= _ROUNDING * largest:
        return Difference(mean, seeds, PAIRED, reason="the difference is the same for every seed, without a spread")
    half = t_quantile(LEVEL, len(seeds) - 1) * spread / math.sqrt(len(seeds))
    return Difference(mean, seeds, PAIRED, (mean - half, mean + half))


def _welch(first: Sample, second: Sample) -> Difference:
    assert first.mean is not None
    assert second.mean is not None
    difference = second.mean - first.mean
    if first.spread is None or second.spread is None:
        return Difference(difference, (), WELCH, reason="no seed is shared, and one seed alone has no spread")
    parts = [sample.spread**2 / sample.n for sample in (first, second) if sample.spread is not None]
    variance = sum(parts)
    if variance <= (_ROUNDING * max(map(abs, (*first.values, *second.values)))) ** 2:
        return Difference(difference, (), WELCH, reason="the results are the same for every seed, without a spread")
    # Of Welch and Satterthwaite: never below the smaller group's.
    degrees = variance**2 / sum(part**2 / (sample.n - 1) for part, sample in zip(parts, (first, second), strict=True))
    half = t_quantile(LEVEL, degrees) * math.sqrt(variance)
    return Difference(difference, (), WELCH, (difference - half, difference + half))
