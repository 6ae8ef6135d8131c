"""Which snapshot is shown when.

A training writes its snapshots in blocks, some two a second. Those of a block are played one after the other while the
next block is awaited, so that shapes move evenly; all that is shown was recorded.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from acu_core.runs.snapshot_follower import SnapshotFollower, Snapshots

OPENING = 192
"""So many snapshots, evenly spread, are read of what was there before the watching began."""
_MOST_KEPT = 384
_REFINEMENTS, _REFINED = 3, 64
"""So often so many are added where the shapes moved most."""
_FINE, _COARSEST = 0.02, 100.0
"""Pixels between two snapshots of a path."""
_SHORTEST, _LONGEST = 0.1, 2.0
_ROUNDING = 1e-6


class Playback:
    """The snapshots (T, P, 2) shown so far, the first of the run and the one to be seen now among them."""

    def __init__(self, source: SnapshotFollower) -> None:
        self._source = source
        self.restart()

    def restart(self) -> None:
        """Forgets what was shown: the file has begun again."""
        self._keep(np.empty(0, np.int64), np.empty((0, 0, 2), np.float32))
        self.version = 0
        """Changes when earlier snapshots do, other than by one that is added."""
        self._step = _FINE
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

    @property
    def next_at(self) -> float:
        """When there is another one to be seen, on the clock of `advance`; infinity where no more is known of."""
        if not self.is_playing:
            return math.inf
        return self._begun + self._takes * (self._shown + 1 - self._from) / (self._to - self._from)

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
        # At least one at once: a slow training's only one is not held back. Rounding must not make one late.
        return self._show(max(self._from + 1, self._from + int(share * (self._to - self._from) + _ROUNDING)))

    def _open(self, last: int, now: float) -> bool:
        if last < 0:
            return False
        numbers = np.unique(np.linspace(0, last, OPENING).round().astype(np.int64))
        found = self._source.read(numbers.tolist())
        for _ in range(_REFINEMENTS):
            found, numbers = self._refined(found, numbers)
        self._keep(found.iterations, found.positions)
        self._shown = self._from = self._to = last
        self._begun = now
        self.version += 1
        return len(found) > 0

    def _refined(self, found: Snapshots, numbers: npt.NDArray[np.int64]) -> tuple[Snapshots, npt.NDArray[np.int64]]:
        """With more snapshots where the shapes moved most from one to the next; as it is where some are damaged."""
        if len(found) < 2 or len(found) < len(numbers):
            return found, numbers
        moved = np.where(np.diff(numbers) > 1, _steps(found.positions), 0.0)
        wide = np.argsort(-moved, kind="stable")[:_REFINED]
        wide = np.sort(wide[moved[wide] > _FINE])
        between = (numbers[wide] + numbers[wide + 1]) // 2
        more = self._source.read(between.tolist())
        if len(more) < len(between):
            return found, numbers
        merged = Snapshots(
            np.insert(found.iterations, wide + 1, more.iterations),
            np.insert(found.positions, wide + 1, more.positions, axis=0),
        )
        return merged, np.insert(numbers, wide + 1, between)

    def _show(self, number: int) -> bool:
        if number <= self._shown:
            return False
        self._shown = number
        self._to = max(self._to, number)
        found = self._source.read([number])
        if not len(found) or (len(self.iterations) and found.iterations[0] <= self.iterations[-1]):
            return False
        if len(self.iterations) > 2 and _steps(self.positions[-2:])[0] < self._step:
            # Too near to the one before for a path: it was worth showing and is not worth keeping.
            self.iterations[-1], self.positions[-1] = found.iterations[0], found.positions[0]
            return True
        self._add(found)
        if len(self.iterations) > _MOST_KEPT:
            self._thin()
        return True

    def _thin(self) -> None:
        """Keeps what makes the paths: their ends, and snapshots that are far enough from each other."""
        while True:
            self._step *= 2.0
            kept = [0]
            for number in range(1, len(self.iterations) - 1):
                if not _steps(self.positions[[kept[-1], number]])[0] < self._step:
                    kept.append(number)
            if len(kept) < _MOST_KEPT // 2 or self._step > _COARSEST:
                break
        kept = kept[-_MOST_KEPT // 2 :] if len(kept) > _MOST_KEPT else kept
        kept = [*dict.fromkeys([0, *kept, len(self.iterations) - 1])]
        self._keep(self.iterations[kept], self.positions[kept])
        self.version += 1

    def _keep(self, iterations: npt.NDArray[np.int64], positions: npt.NDArray[np.float32]) -> None:
        count, room = len(iterations), max(len(iterations), _MOST_KEPT) + 1
        # Room for all that will be added: a frame that copies everything before it costs page faults.
        self._iterations = np.empty(room, np.int64)
        self._positions = np.empty((room, *positions.shape[1:]), np.float32)
        self.iterations, self.positions = self._iterations[:count], self._positions[:count]
        self.iterations[:], self.positions[:] = iterations, positions

    def _add(self, found: Snapshots) -> None:
        if not len(self.iterations):
            self._keep(found.iterations, found.positions)
            return
        count = len(self.iterations)
        self._iterations[count], self._positions[count] = found.iterations[0], found.positions[0]
        self.iterations, self.positions = self._iterations[: count + 1], self._positions[: count + 1]


def _steps(positions: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Pixels (T - 1,) by which the synapse that moved furthest did so, from one snapshot to the next."""
    found: npt.NDArray[np.float32] = np.abs(np.diff(positions, axis=0)).max(axis=(1, 2), initial=0.0)
    return found
