"""The losses and test errors of a run that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from acu_core.runs.json_lines import damaged_line
from acu_core.runs.log_follower import LogFollower
from acu_core.runs.metrics import EvaluationRecord, TrainingRecord
from acu_core.runs.record import WrongRecordError

_SMOOTHED = 50


class TrainingLog:
    """`metrics.jsonl` as far as it has come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._follower = LogFollower(path)
        self._wrong: str | None = None
        self._forget()

    @property
    def damage(self) -> str | None:
        """The sentence about the first line that cannot be used."""
        return self._follower.damage or self._wrong

    @property
    def is_behind(self) -> bool:
        """Whether there is more to read at once."""
        return self._follower.is_behind and self._wrong is None

    @property
    def iteration(self) -> int:
        """The last iteration of which there is a record."""
        return max(int(self._steps[self._count - 1]) if self._count else 0, self.last_evaluated or 0)

    @property
    def last_evaluated(self) -> int | None:
        """The iteration that was evaluated last."""
        return self.evaluated[-1] if self.evaluated else None

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Iterations (N,) of the training records."""
        return self._steps[: self._count]

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """Their losses (N,)."""
        return self._losses[: self._count]

    @property
    def loss(self) -> float | None:
        """The mean of the latest losses."""
        return float(self.losses[-_SMOOTHED:].mean()) if self._count else None

    def poll(self) -> bool:
        """Reads on; whether there was anything new."""
        new = self._follower.poll()
        if new.anew:
            self._forget()
            self._wrong = None
        if self._wrong is not None:
            return False
        for entry in new.entries:
            self._lines += 1
            try:
                if "loss" in entry:
                    self._add(TrainingRecord.from_entry(entry))
                else:
                    record = EvaluationRecord.from_entry(entry)
                    self.evaluated.append(record.iteration)
                    self.errors.append(100.0 * record.test_errors / record.test_images)
                    self.last_evaluation: EvaluationRecord | None = record
            except WrongRecordError as error:
                self._wrong = str(damaged_line(self._path, self._lines, str(error)))
                break
        return new.anew or bool(new.entries)

    def _forget(self) -> None:
        self._steps, self._losses = np.empty(1024, np.int64), np.empty(1024)
        self._count = self._lines = 0
        self.evaluated: list[int] = []
        """The iterations that were evaluated."""
        self.errors: list[float] = []
        """Their test errors in percent."""
        self.last_evaluation = None

    def _add(self, record: TrainingRecord) -> None:
        if self._count == len(self._steps):
            self._steps = np.concatenate([self._steps, np.empty_like(self._steps)])
            self._losses = np.concatenate([self._losses, np.empty_like(self._losses)])
        self._steps[self._count], self._losses[self._count] = record.iteration, record.loss
        self._count += 1
