"""When several processes ask one another whether to go on."""

from __future__ import annotations

import time
from collections.abc import Callable

from acu_core.learn.processes import Processes

SECONDS = 0.25
"""Between two meetings, about: a wish to stop waits as long, and a message of a millisecond is lost in it."""
FARTHEST = 256
"""Steps from one meeting to the next, at most."""


class Meetings:
    """Whether `stop()` has turned true in any of the processes: all learn it at the same step.

    Asked at every step, one process alone asks itself. Several meet a few times a second, at steps on which they agreed
    at the meeting before: the first process knows how long a step takes.
    """

    def __init__(self, processes: Processes, stop: Callable[[], bool]) -> None:
        self._processes = processes
        self._stop = stop
        self._next: int | None = None
        self._last: tuple[int, float] | None = None

    def due(self, step: int) -> bool:
        """Whether the processes meet at `step`; steps ascend. One process alone meets itself at each."""
        return self._next is None or step >= self._next

    def stop(self, step: int) -> bool:
        """Whether to stop, at a step where that is asked; False at all others."""
        if not self._processes.several:
            return self._stop()
        if not self.due(step):
            return False
        stopping, ahead = self._processes.most(self._stop(), self._ahead(step) if self._processes.leads else 0)
        self._next = step + ahead
        return bool(stopping)

    def _ahead(self, step: int) -> int:
        before, now = self._last, time.monotonic()
        self._last = (step, now)
        if before is None or step <= before[0]:
            return 1
        seconds = (now - before[1]) / (step - before[0])
        return max(1, min(FARTHEST, int(SECONDS / max(seconds, 1e-6))))
