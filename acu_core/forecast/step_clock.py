"""Times the iterations of a training from within it, and ends it when enough are timed."""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass

import torch

_STRETCHES = 9


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
    """Told between two pieces of work, such as iterations, how many are done; says whether enough were timed.

    `ahead` more pieces do not count where they were prepared before. On a GPU, which is told of an iteration long
    before it computes it, the pieces are timed by tens. It need not be told of every piece.
    """

    def __init__(self, patience: Patience, device: torch.device, *, ahead: int = 0) -> None:
        self._patience = patience
        self._device = device
        self._group = 10 if device.type == "cuda" else 1
        self._skipped = (patience.skipped + ahead) * self._group
        self._times: list[tuple[int, float]] = []
        self._began: tuple[int, float] | None = None

    def enough(self, done: int) -> bool:
        """Whether it is time to stop, with `done` pieces done."""
        if self._began is None:
            self._began = (done, time.perf_counter())
        if done < self._skipped or (self._times and done < self._times[-1][0] + self._group):
            return False
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._times.append((done, time.perf_counter()))
        if self.figures < self._patience.least:
            return False
        return self.figures >= self._patience.most or self.last - self._times[0][1] >= self._patience.seconds

    @property
    def figures(self) -> int:
        """How many times are known."""
        return max(0, len(self._times) - 1)

    @property
    def seconds(self) -> float:
        """Of one piece: the median of the means of some stretches of the time.

        A neighbour on the same processor disturbs a median least; what comes up once in many pieces, such as writing
        records, must be in it all the same.
        """
        stretches = min(_STRETCHES, self.figures)
        marks = [self._times[number * self.figures // stretches] for number in range(stretches + 1)]
        pairs = itertools.pairwise(marks)
        return statistics.median((after - before) / (later - earlier) for (earlier, before), (later, after) in pairs)

    @property
    def beginning(self) -> float:
        """How much longer the pieces that do not count took than as many others."""
        assert self._began is not None
        (done, began), (skipped, ended) = self._began, self._times[0]
        return max(0.0, ended - began - (skipped - done) * self.seconds)

    @property
    def last(self) -> float:
        """When it was told last, as `time.perf_counter` counts."""
        return self._times[-1][1]
