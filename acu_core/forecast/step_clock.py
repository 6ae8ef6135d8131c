"""Times the iterations of a training from within it, and ends it when enough are timed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Patience:
    """How long is measured: until `seconds` are over and `least` figures are there, or `most` are.

    The first `skipped` pieces of work do not count: memory is taken, and libraries choose their kernels.
    """

    seconds: float = 6.0
    least: int = 5
    most: int = 1000
    skipped: int = 2


class StepClock:
    """Called between two pieces of work, such as iterations; true when enough were timed.

    `ahead` more pieces do not count where they were prepared before. On a GPU, which is told of an iteration long before it computes it, the pieces are timed by tens.
    """

    def __init__(self, patience: Patience, device: torch.device, *, ahead: int = 0) -> None:
        self._patience = patience
        self._device = device
        self._group = 10 if device.type == "cuda" else 1
        self._skipped = (patience.skipped + ahead) * self._group
        self._calls = 0
        self._times: list[float] = []

    def __call__(self) -> bool:
        """The first call is before the first piece."""
        done = self._calls
        self._calls += 1
        if done < self._skipped or (done - self._skipped) % self._group:
            return False
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._times.append(time.perf_counter())
        return self.enough

    @property
    def enough(self) -> bool:
        """Whether as many figures are there as were wanted."""
        if self.figures < self._patience.least:
            return False
        return self.figures >= self._patience.most or self._times[-1] - self._times[0] >= self._patience.seconds

    @property
    def figures(self) -> int:
        """How many figures the median is of."""
        return max(0, len(self._times) - 1)

    @property
    def seconds(self) -> float:
        """Of one piece: the median, which a neighbour on the same processor disturbs least."""
        pieces = [after - before for before, after in zip(self._times, self._times[1:], strict=False)]
        return statistics.median(pieces) / self._group

    @property
    def last(self) -> float:
        """When it was called last, as `time.perf_counter` counts."""
        return self._times[-1]
