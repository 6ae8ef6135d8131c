"""A few measurements of the same thing: how many, their mean and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """Measurements in one unit, in the order of their seeds."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Sample:
        """A sample of `values`, which may be none."""
        return cls(tuple(values))

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """The arithmetic mean; None where there is nothing."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """The sample standard deviation, which divides by n - 1; None below two values."""
        return statistics.stdev(self.values) if len(self.values) >= 2 else None
