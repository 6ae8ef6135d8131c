"""Records the shapes of any network in any training loop."""

from __future__ import annotations

import operator
import os
import time
import warnings
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import SupportsIndex

import numpy as np
import torch
from torch import nn

from acu_core.errors import UserError
from acu_core.nn.unwrapped_layers import unwrapped_layers
from acu_core.runs.recording_lock import RecordingLock
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts, TruncatedHeaderError
from acu_core.runs.snapshot_writer import SnapshotWriter
from acu_core.train.shape_collector import BLOCK, BLOCK_SECONDS, ShapeCollector, layer_entries


class ShapeRecorder:
    """Writes the positions and weight norms of a network's active layers into a file, iteration by iteration.

        with ShapeRecorder(model, "shapes.bin") as shapes:
            for iteration, (images, labels) in enumerate(loader, start=1):
                ...  # forward, backward, optimizer.step()
                shapes.record(iteration)

    The file has the format of a run's `positions.bin`, and whatever reads or draws that takes it, also while it grows.

    Snapshots collect on the network's device, without waiting for it, and are written in blocks: by the first `record`
    half a second after the last block, or when 256 are pending, by `flush` and by `close`. What is written survives the
    process, `kill -9` included. A killed process loses what is pending: at most 256 snapshots, all recorded within half
    a second. What is flushed survives a power failure too: flush when you save a checkpoint, and the file will never
    end before it. A half-written end is ignored by readers. What the disk refuses is an OSError and kept for the next
    try; with the one of `close` it is lost. Without `with` or `close`, the rest is written when the
    recorder is collected or Python exits.

    Names of layers are those in the network itself: without the `module.` of DistributedDataParallel and DataParallel
    and the `_orig_mod.` of `torch.compile`. Where torch.distributed is initialised already, only rank 0 writes. The
    recorders of the others refuse the same arguments and iterations, but look at no file: none is refused because of
    what it holds, and after `resume_after` their `last_iteration` is -1 until they record. Layers may be of any dtype,
    on several devices, move between them, share or freeze their positions.

    Args:
        model: any network with at least one ActiveConv2d. Its layers are looked up once, here.
        path: the file, by custom with the suffix `.bin`; its directory must exist.
        warm_up: how many iterations the positions rest, for those who draw the file.
        every: `record` keeps the iterations that are multiples of it.
        resume_after: the iteration after which a resumed training goes on. What the file holds beyond it is cut off,
            and `record` appends; where there is no file, one begins. Where the file ends earlier, so that shapes are
            missing, a warning says so. With None or 0 a training begins: an existing file is refused, so that no
            recording is lost by a script that is started twice, unless it ends inside its header.

    Raises:
        UserError: the network has no active layer; the file exists already, cannot be written, is being recorded into
            by another recorder, or, with `resume_after`, is damaged or of another network; a number is out of range.
            Then nothing on disk changed.
    """

    def __init__(
        self,
        model: nn.Module,
        path: str | os.PathLike[str],
        *,
        warm_up: int = 0,
        every: int = 1,
        resume_after: int | None = None,
    ) -> None:
        self.path = Path(path)
        self._every = _whole("every", every, least=1)
        facts = TrainingFacts(_whole("warm_up", warm_up))
        after = 0 if resume_after is None else _whole("resume_after", resume_after)
        layers = unwrapped_layers(model)
        if not layers:
            raise UserError(
                f"this {type(model).__name__} has no ActiveConv2d, so there are no shapes to record: "
                "acu_core.from_conv2d makes its convolutions active"
            )
        self._latest = -1
        self._file: _OpenFile | None = None
        if _is_first_process():
            opened = _open(self.path, layer_entries(layers), facts, after)
            self._latest = opened.snapshots.last_iteration
            self._file = _OpenFile(opened, ShapeCollector(layers))
            # Also runs when Python exits.
            self._finalizer = weakref.finalize(self, self._file.close)
            if after >= opened.found + max(self._every, opened.usual):
                held = f"ends with iteration {opened.found}" if opened.found >= 0 else "has no snapshot"
                warnings.warn(
                    f"{self.path} {held}, and the training goes on after {after}: the shapes in between are missing",
                    stacklevel=2,
                )
        self._closed = False

    @property
    def last_iteration(self) -> int:
        """The last iteration that `record` was called with, or the file ends with; -1 where there is none."""
        return self._latest

    def record(self, iteration: SupportsIndex) -> None:
        """Keeps the shapes as they are now, after the optimizer's step `iteration` (0: before the first).

        Raises UserError for an iteration that does not come after those before, and after `close`.
        """
        self._check_open()
        number = _whole("iteration", iteration)
        if number <= self._latest:
            raise UserError(f"iterations must ascend: {number} was to be recorded after {self._latest} in {self.path}")
        # First: what cannot be written now is kept, and must not be recorded again.
        self._latest = number
        if self._file is not None and number % self._every == 0:
            self._file.collect(number)

    def flush(self) -> None:
        """Returns when all that was recorded is on the disk: before a checkpoint is saved, for example."""
        self._check_open()
        if self._file is not None:
            self._file.write()
            self._file.snapshots.sync()

    def close(self) -> None:
        """Writes what was recorded and closes the file; a second call does nothing."""
        self._closed = True
        if self._file is not None:
            # Calls it once, whoever comes first.
            self._finalizer()

    def __enter__(self) -> ShapeRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UserError(f"the recorder of {self.path} is closed: make another one, with resume_after, to go on")


class _OpenFile:
    """What must be written and closed even when the recorder is forgotten."""

    def __init__(self, opened: _Opened, shapes: ShapeCollector) -> None:
        self.snapshots = opened.snapshots
        self._lock = opened.lock
        self._shapes = shapes
        self._written = time.monotonic()
        self._process = os.getpid()

    def collect(self, iteration: int) -> None:
        self._shapes.collect(iteration)
        if self._shapes.pending >= BLOCK or time.monotonic() - self._written >= BLOCK_SECONDS:
            self.write()

    def write(self) -> None:
        self._shapes.write(self.snapshots)
        self._written = time.monotonic()

    def close(self) -> None:
        try:
            # A forked process has a copy of what this one has recorded, and would write it a second time.
            if os.getpid() == self._process:
                self.write()
                self.snapshots.sync()
        finally:
            self.snapshots.close()
            self._lock.release()


def _is_first_process() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_rank() != 0)


@dataclass(frozen=True)
class _Opened:
    """A file that is locked: the last iteration that was found in it, and how many it took between the last two."""

    snapshots: SnapshotWriter
    lock: RecordingLock
    found: int
    usual: int = 1


def _open(path: Path, layers: list[LayerEntry], facts: TrainingFacts, after: int) -> _Opened:
    if not os.path.lexists(path):
        snapshots = SnapshotWriter.create(path, layers, facts)
        try:
            return _Opened(snapshots, RecordingLock(path), found=after)
        except BaseException:
            snapshots.close()
            raise
    if not path.exists():
        raise UserError(f"{path} is a link to a file that is not there: remove the link or choose another file")
    if not after:
        _refuse_recording(path)
    lock = RecordingLock(path)
    try:
        if not after:
            # It may have been begun in the meantime.
            _refuse_recording(path)
        return _go_on(path, layers, facts, after, lock)
    except BaseException:
        lock.release()
        raise


def _refuse_recording(path: Path) -> None:
    with suppress(UserError):
        try:
            SnapshotFile(path)
        except TruncatedHeaderError:
            return
    raise UserError(
        f"{path} exists already and is not overwritten: choose another file, or, where a training is resumed, "
        "give resume_after, the iteration after which it goes on"
    )


def _go_on(path: Path, layers: list[LayerEntry], facts: TrainingFacts, after: int, lock: RecordingLock) -> _Opened:
    """The file, cut after an iteration."""
    try:
        file = SnapshotFile(path)
    except TruncatedHeaderError:
        # Killed when it began: it holds nothing yet.
        return _Opened(SnapshotWriter.create(path, layers, facts, replace=True), lock, found=after)
    if difference := _difference(file, layers, facts):
        raise UserError(f"{path} cannot be gone on with, it was recorded {difference}: choose another file")
    good = file.iterations <= after
    good[file.damaged] = False
    kept = int(good.nonzero()[0][-1]) + 1 if good.any() else 0
    last = [int(iteration) for iteration in np.delete(file.iterations, file.damaged)[-2:]]
    snapshots = SnapshotWriter.open_for_append(path, file.length_of(kept))
    try:
        snapshots.cut()
    except BaseException:
        snapshots.close()
        raise
    return _Opened(snapshots, lock, found=last[-1] if last else -1, usual=last[-1] - last[0] if last else 1)


def _difference(file: SnapshotFile, layers: list[LayerEntry], facts: TrainingFacts) -> str:
    ours, theirs = {layer.name: layer for layer in layers}, {layer.name: layer for layer in file.layers}
    if lacking := [name for name in ours if name not in theirs]:
        return f"of another network: it has no layer {lacking[0]}" + _more(lacking)
    if foreign := [name for name in theirs if name not in ours]:
        return f"of another network: this one has no layer {foreign[0]}" + _more(foreign)
    for name, layer in ours.items():
        if layer != theirs[name]:
            return (
                f"of another network: {name} has positions ({theirs[name].groups}, {theirs[name].synapses}, 2) there, "
                f"({layer.groups}, {layer.synapses}, 2) here"
            )
    if list(ours) != list(theirs):
        return f"of another network: its layers are in the order {', '.join(theirs)}"
    if file.facts.warm_up != facts.warm_up:
        return f"with a warm_up of {file.facts.warm_up}, not {facts.warm_up}"
    return ""


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _whole(name: str, value: SupportsIndex, *, least: int = 0) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not least <= number < 2**63:
        raise UserError(f"{name} must be a whole number from {least} on, it is {str(value)[:40]}")
    return number
