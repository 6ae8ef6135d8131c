"""Which snapshot is shown when.

A training writes its snapshots in blocks, some two a second. Those of a block are played one after the other while the
next block is awaited, so that shapes move evenly; all that is shown was recorded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from acu_core.runs.snapshot_follower import SnapshotFollower

OPENING = 192
"""So many snapshots, evenly spread, are read of what was there before the watching began."""
_MOST_KEPT = 384
_SHORTEST, _LONGEST = 0.1, 2.0


class Playback:
    """The snapshots (T, P, 2) shown so far, the first of the run and the one to be seen now among them."""

    def __init__(self, source: SnapshotFollower) -> None:
        self._source = source
        self.restart()

    def restart(self) -> None:
        """Forgets what was shown: the file has begun again."""
        self.iterations: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self.positions: npt.NDArray[np.float32] = np.empty((0, 0, 2), np.float32)
        self.version = 0
        """Changes when earlier snapshots do, other than by one that is added."""
        self._shown = self._from = self._to = -1
        self._begun, self._takes = 0.0, 0.5

    @property
    def is_playing(self) -> bool:
        """Whether there is more to show than is shown."""
        return self._shown < self._to

    @property
    def iteration(self) -> int | None:
        """That of the snapshot to be seen now."""
        return int(self.iterations[-1]) if len(self.iterations) else None

    def advance(self, now: float, *, to_end: bool = False) -> bool:
        """Moves on to what is to be seen at the time `now`; whether that is another snapshot."""
        last = len(self._source) - 1
        if self._shown < 0 or to_end:
            return self._open(last, now) if self._shown < 0 else self._show(last)
        if last > self._to:
            if self._begun:
                # Blocks come evenly: the next one as late after this as this after the one before.
                self._takes = min(max(now - self._begun, _SHORTEST), _LONGEST)
            self._from, self._to, self._begun = self._shown, last, now
        if not self.is_playing:
            return False
        share = min(1.0, (now - self._begun) / self._takes)
        # At least one at once: a slow training's only one is not held back.
        return self._show(max(self._from + 1, self._from + int(share * (self._to - self._from))))

    def _open(self, last: int, now: float) -> bool:
        if last < 0:
            return False
        numbers = np.unique(np.linspace(0, last, OPENING).round().astype(np.int64))
        found = self._source.read(numbers.tolist())
        self.iterations, self.positions = found.iterations, found.positions
        self._shown = self._from = self._to = last
        self._begun = now
        self.version += 1
        return len(found) > 0

    def _show(self, number: int) -> bool:
        if number <= self._shown:
            return False
        self._shown = number
        self._to = max(self._to, number)
        found = self._source.read([number])
        if not len(found) or (len(self.iterations) and found.iterations[0] <= self.iterations[-1]):
            return False
        if len(self.iterations) >= _MOST_KEPT:
            kept = [*range(0, len(self.iterations) - 1, 2), len(self.iterations) - 1]
            self.iterations, self.positions = self.iterations[kept], self.positions[kept]
            self.version += 1
        self.iterations = np.concatenate([self.iterations, found.iterations])
        self.positions = np.concatenate([self.positions, found.positions]) if self.positions.size else found.positions
        return True
