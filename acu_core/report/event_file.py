"""A run as an event file of TensorBoard, made from the run's files: the training knows nothing of it.

The file is TensorBoard's own kind of log: records of `Event`, one an iteration, whose values are

    train/loss, train/accuracy           of the training batch; accuracy is 0 to 1
    rate/weights, rate/positions         the learning rates of the step
    test/error_percent, test/loss        of an evaluation
    displacement/<layer>                 by how many pixels its synapses have left their start, root mean square
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acu_core.durable import AppendOnlyFile, write_durably
from acu_core.errors import UserError
from acu_core.runs.log_follower import LogFollower
from acu_core.runs.metrics import EvaluationRecord, TrainingRecord
from acu_core.runs.record import WrongRecordError
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_follower import SnapshotFollower

NAME = "events.out.tfevents.acu"
"""TensorBoard finds its files by `tfevents`; a name of our own, so that we never replace anybody else's."""
_FORMAT = "brain.Event:2"
_SNAPSHOTS = 2048


class EventFile:
    """The event file of the run at `run`, in `folder`; `write` makes it, `poll` adds what the run got since.

    Every iteration that is a multiple of `every` is written, and every evaluation. A file that is there already is
    replaced. Raises UserError where TensorBoard's package is missing, and where there is no run.
    """

    def __init__(self, run: str | os.PathLike[str], folder: str | os.PathLike[str], *, every: int = 1) -> None:
        require_tensorboard()
        if every < 1:
            raise UserError(f"every must be at least 1, got {every}")
        self.run = RunDirectory.open(run)
        self.path = Path(folder) / NAME
        self.events = 0
        """Iterations and evaluations that were written."""
        self.iteration = 0
        """The last one of them."""
        self._every = every
        self._file: AppendOnlyFile | None = None
        self._wrong: str | None = None
        self._begin()

    @property
    def problems(self) -> list[str]:
        """What of the run is damaged, and not in the file, in sentences."""
        damaged = len(self._snapshots.damaged)
        skipped = f"{damaged} snapshots of {self.run.positions} are damaged and left out" if damaged else None
        return [text for text in (self._wrong, self._log.damage, self._snapshots.damage, skipped) if text is not None]

    @property
    def is_damaged(self) -> bool:
        """Whether nothing more can be read of the run's log or snapshots, where that is damaged."""
        return any(text is not None for text in (self._wrong, self._log.damage, self._snapshots.damage))

    def write(self) -> None:
        """Writes all that the run has by now, in one step. Raises UserError where it cannot be written."""
        self.close()
        self._begin()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self.path, lambda file: file.writelines([_record(file_version=_FORMAT), *self._new()]))
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from error

    def poll(self) -> bool:
        """Adds what is new; whether that was anything. `write` comes first."""
        if self._file is None:
            self._file = AppendOnlyFile.open(self.path, self.path.stat().st_size)
        content = b"".join(self._new())
        if content:
            self._file.append(content)
        return bool(content)

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._log, self._snapshots = LogFollower(self.run.metrics), SnapshotFollower(self.run.positions)
        self._start: npt.NDArray[np.float32] | None = None
        self._read = self.events = self.iteration = 0
        self._wrong = None

    def _new(self) -> Iterator[bytes]:
        begins_again = self._snapshots.poll()
        while True:
            entries = self._log.poll()
            if begins_again or entries.anew:
                # The run was resumed before what is in the file: TensorBoard drops it all, and gets it again.
                self._begin()
                yield _restart()
                self._snapshots.poll()
                begins_again, entries = False, self._log.poll()
            for values in self._of_log(entries.entries):
                yield self._event(*values)
            if not self._log.is_behind:
                break
        for values in self._of_snapshots():
            yield self._event(*values)

    def _event(self, iteration: int, values: Mapping[str, float]) -> bytes:
        self.events += 1
        self.iteration = max(self.iteration, iteration)
        return _scalars(iteration, values)

    def _of_log(self, entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, float]]]:
        if self._wrong is not None:
            return
        for entry in entries:
            try:
                if "loss" in entry:
                    step = TrainingRecord.from_entry(entry)
                    if step.iteration % self._every == 0:
                        yield step.iteration, _step_values(step)
                else:
                    test = EvaluationRecord.from_entry(entry)
                    yield test.iteration, _evaluation_values(test)
            except WrongRecordError as error:
                self._wrong = f"a line of {self.run.metrics} is damaged: {error}"
                return

    def _of_snapshots(self) -> Iterator[tuple[int, dict[str, float]]]:
        layers = self._snapshots.layers
        ends = np.cumsum([0, *(layer.groups * layer.synapses for layer in layers)]).tolist()
        count = len(self._snapshots)
        while self._read < count:
            numbers = range(self._read, min(count, self._read + _SNAPSHOTS))
            found = self._snapshots.read(numbers)
            self._read = numbers.stop
            if not len(found):
                continue
            if self._start is None:
                self._start = found.positions[0]
            squares = np.square((found.positions - self._start).astype(np.float64)).sum(axis=2)
            parts = [squares[:, begin:end] for begin, end in pairwise(ends)]
            moved = np.sqrt(np.stack([part.mean(axis=1) for part in parts], axis=1))
            for iteration, distances in zip(found.iterations.tolist(), moved.tolist(), strict=True):
                if iteration % self._every == 0:
                    pairs = zip(layers, distances, strict=True)
                    yield iteration, {f"displacement/{layer.name}": distance for layer, distance in pairs}


def require_tensorboard() -> None:
    """Raises UserError where TensorBoard's package is missing."""
    if find_spec("tensorboard") is None:
        raise UserError(
            "event files need tensorboard, which is not installed: pip install 'active-convolution[tensorboard]'"
        )


def _step_values(step: TrainingRecord) -> dict[str, float]:
    return {
        "train/loss": step.loss,
        "train/accuracy": step.accuracy,
        "rate/weights": step.learning_rate,
        "rate/positions": step.position_learning_rate,
    }


def _evaluation_values(test: EvaluationRecord) -> dict[str, float]:
    values = {"test/error_percent": 100.0 * test.test_errors / test.test_images, "test/loss": test.test_loss}
    for name, errors, loss, images in (
        ("average_test", test.average_test_errors, test.average_test_loss, test.test_images),
        ("validation", test.validation_errors, test.validation_loss, test.validation_images),
        ("average_validation", test.average_validation_errors, test.average_validation_loss, test.validation_images),
    ):
        if errors is not None and loss is not None and images:
            values |= {f"{name}/error_percent": 100.0 * errors / images, f"{name}/loss": loss}
    return values


def _scalars(iteration: int, values: Mapping[str, float]) -> bytes:
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
    return _record(step=iteration, summary=summary)


def _restart() -> bytes:
    from tensorboard.compat.proto.event_pb2 import SessionLog

    return _record(step=0, session_log=SessionLog(status=SessionLog.START))


def _record(**values: Any) -> bytes:
    """An event, between the lengths and checksums of TensorBoard's files."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    content = BytesIO()
    RecordWriter(content).write(Event(wall_time=time.time(), **values).SerializeToString())
    return content.getvalue()
