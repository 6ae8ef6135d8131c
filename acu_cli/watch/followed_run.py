"""A run that goes on, as its files tell it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from acu_cli.watch.condition import Condition
from acu_cli.watch.run_plan import RunPlan
from acu_cli.watch.training_log import TrainingLog
from acu_core.errors import UserError
from acu_core.runs.log_follower import LogFollower
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_follower import SnapshotFollower

_SPEED_SECONDS = 30.0
_LOCK_SECONDS = 0.5


class FollowedRun:
    """Call `poll` from time to time. Raises UserError for a path that is no run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.directory = RunDirectory.open(path)
        # A run may be named by ".".
        self.name = self.directory.path.resolve().name
        self.plan = RunPlan.read(self.directory)
        self.snapshots = SnapshotFollower(self.directory.positions)
        self.log = TrainingLog(self.directory.metrics)
        self.twin = TrainingLog(self.directory.path / "frozen" / "metrics.jsonl") if self.plan.has_twin else None
        self.is_locked = False
        self._timings = LogFollower(self.directory.timings)
        self._recorded_speed: float | None = None
        self._recipe_changed = self._recipe_time()
        self._asked = -_LOCK_SECONDS
        self._progress: list[tuple[float, int]] = []

    @property
    def iteration(self) -> int:
        """How far the training of the run itself has come."""
        # An imported run has snapshots and no log.
        return self.log.iteration or self.snapshots.last_iteration

    @property
    def done(self) -> int:
        """Iterations that were trained, those of the twin too."""
        return self.iteration + (self.twin.iteration if self.twin is not None else 0)

    @property
    def total(self) -> int:
        """Iterations to be trained in all."""
        return self.plan.iterations * (2 if self.plan.has_twin else 1)

    @property
    def trains_twin(self) -> bool:
        """Whether the run itself is done, and its twin is not."""
        if self.twin is None or not self.plan.has_twin:
            return False
        return self.plan.is_done(self.log.last_evaluated) and not self.plan.is_done(self.twin.last_evaluated)

    @property
    def condition(self) -> Condition:
        """How it is doing."""
        return self.plan.condition(
            iteration=self.iteration,
            is_locked=self.is_locked,
            evaluated=self.log.last_evaluated,
            twin_evaluated=self.twin.last_evaluated if self.twin is not None else None,
        )

    @property
    def speed(self) -> float | None:
        """Iterations a second: those seen lately, or else as the run's log of times says."""
        if self.condition is not Condition.TRAINING:
            return None
        if len(self._progress) > 2:
            (begun, first), (ended, last) = self._progress[0], self._progress[-1]
            if ended > begun and last > first:
                return (last - first) / (ended - begun)
        return self._recorded_speed

    @property
    def seconds_left(self) -> float | None:
        """Until its end, at this speed."""
        speed = self.speed
        return (self.total - self.done) / speed if speed else None

    @property
    def problems(self) -> list[str]:
        """Sentences about what is damaged."""
        found = [self.snapshots.damage, self.log.damage, self.twin.damage if self.twin is not None else None]
        if self.snapshots.damaged:
            found.append(
                f"{len(self.snapshots.damaged)} of the snapshots looked at in {self.directory.positions} are damaged "
                "and left out"
            )
        return [sentence for sentence in found if sentence is not None]

    @property
    def is_behind(self) -> bool:
        """Whether there is more to read at once."""
        return self.log.is_behind or (self.twin is not None and self.twin.is_behind)

    def poll(self) -> bool:
        """Reads what is new; whether the snapshots begin again, as after a run was resumed from an older checkpoint."""
        now = time.monotonic()
        if now - self._asked >= _LOCK_SECONDS:
            self._asked = now
            # Before the logs: whoever lets go of the lock has written them.
            self.is_locked = self.directory.is_locked
            self._reread_recipe()
        before = self.done
        begins = self.snapshots.poll()
        self.log.poll()
        if self.twin is not None:
            self.twin.poll()
        self._read_timings()
        if self.done < before:
            self._progress.clear()
        if self.done != before and before and not self.is_behind:
            self._progress.append((now, self.done))
            while len(self._progress) > 3 and now - self._progress[1][0] > _SPEED_SECONDS:
                self._progress.pop(0)
        return begins

    def poll_all(self) -> bool:
        """Reads all there is, and asks once more who holds it; whether the snapshots begin again."""
        self._asked = -_LOCK_SECONDS
        begins = self.poll()
        while self.is_behind:
            begins = self.poll() or begins
        return begins

    def _read_timings(self) -> None:
        for entry in self._timings.poll().entries:
            speed = entry.get("iterations_per_second")
            if isinstance(speed, float | int) and speed > 0:
                self._recorded_speed = float(speed)

    def _reread_recipe(self) -> None:
        # A finished run is extended by another recipe.
        changed = self._recipe_time()
        if changed != self._recipe_changed:
            self._recipe_changed = changed
            with suppress(UserError):
                self.plan = RunPlan.read(self.directory)

    def _recipe_time(self) -> int:
        try:
            return os.stat(self.directory.path / "recipe.toml").st_mtime_ns
        except OSError:
            return 0


def newest_run(runs: Path) -> Path:
    """The run below `runs` that was written last. Raises UserError where there is none."""
    found: list[tuple[float, Path]] = []
    with suppress(OSError):
        for path in runs.iterdir():
            if (path / "recipe.toml").is_file():
                times = [os.stat(path / name).st_mtime for name in os.listdir(path) if not name.startswith(".")]
                found.append((max(times, default=0.0), path))
    if not found:
        raise UserError(f"there is no run in {runs}: name the run's directory")
    return max(found)[1]
