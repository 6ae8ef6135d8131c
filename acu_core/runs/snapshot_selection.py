"""Which snapshots of a run, or of a file of positions alone, are used: good ones, of some iterations and layers."""

from __future__ import annotations

import fnmatch
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acu_core.errors import UserError
from acu_core.runs.checkpoints import list_checkpoints
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

Source = RunDirectory | str | os.PathLike[str]
Warn = Callable[[str], None]
Floats = npt.NDArray[np.float32]


def python_warning(text: str) -> None:
    """Warns as Python libraries do."""
    warnings.warn(text, stacklevel=2)


@dataclass(frozen=True)
class SnapshotSelection:
    """Snapshots `numbers` (N,) of a file, whose iterations (N,) ascend, and the names of the layers that are wanted."""

    file: SnapshotFile
    numbers: npt.NDArray[np.int64]
    iterations: npt.NDArray[np.int64]
    layers: tuple[str, ...]

    def positions(self, layer: str) -> Floats:
        """Positions of a layer, (N, G, K, 2), last axis (y, x)."""
        return self._pick(self.file.positions(layer))

    def weight_norms(self, layer: str) -> Floats:
        """Norm of each synapse's weights in a layer, (N, G, K)."""
        return self._pick(self.file.weight_norms(layer))

    def _pick(self, values: Floats) -> Floats:
        """The snapshots' share of values (T, ...), without the memory of what is not picked."""
        numbers = self.numbers
        if numbers[-1] - numbers[0] + 1 > len(numbers):
            return values[numbers]
        part = values[numbers[0] : numbers[-1] + 1]
        return part.copy() if len(self.layers) < len(self.file.layers) else part


def select_snapshots(
    source: Source,
    *,
    first: int | None = None,
    last: int | None = None,
    every: int = 1,
    layers: Sequence[str] | None = None,
    warn: Warn = python_warning,
) -> SnapshotSelection:
    """Iterations `first` to `last`, both included, that are multiples of `every`; layers that match a pattern.

    Snapshots that are damaged are left out, and `warn` is told which; it is told too when the file ends before the
    run's newest checkpoint. Raises UserError when nothing is left, and for a pattern that matches nothing.
    """
    path = _positions_path(source)
    # Before the snapshots: a run that goes on writes them first.
    reached = _newest_checkpoint(source)
    # In memory, for a run that is resumed meanwhile cuts the file.
    file = SnapshotFile(path, in_memory=True)
    if not file.layers:
        raise UserError(f"{file.path} has no layer with positions: the run's network has ordinary convolutions only")
    if not len(file):
        raise UserError(f"{file.path} has no snapshot yet: wait for the run's first iterations")
    if every < 1:
        raise UserError(f"every must be at least 1, got {every}")
    names = _choose(file, layers)
    good = np.ones(len(file), np.bool_)
    good[file.damaged] = False
    if not good.any():
        raise UserError(f"all snapshots of {file.path} are damaged: restore the file from a copy")
    if not good.all():
        warn(f"{file.describe_damage()}, and left out")
    numbers = np.flatnonzero(good)
    iterations = file.iterations[numbers].astype(np.int64)
    if reached > iterations[-1]:
        warn(
            f"{file.path} ends with iteration {iterations[-1]}, but the run has a checkpoint of iteration {reached}: "
            "snapshots are missing"
        )
    begin = 0 if first is None else int(np.searchsorted(iterations, first, side="left"))
    end = len(iterations) if last is None else int(np.searchsorted(iterations, last, side="right"))
    if begin >= end:
        raise UserError(
            f"{file.path} has no snapshot between the iterations {first if first is not None else 'first'} and "
            f"{last if last is not None else 'last'}: it has {iterations[0]} to {iterations[-1]}"
        )
    wanted = begin + np.flatnonzero(iterations[begin:end] % every == 0)
    if not len(wanted):
        raise UserError(
            f"{file.path} has no snapshot of a multiple of {every} between the iterations {iterations[begin]} and "
            f"{iterations[end - 1]}"
        )
    return SnapshotSelection(file, numbers[wanted], iterations[wanted], tuple(names))


def check_not_source(output: str | os.PathLike[str], *sources: Source) -> None:
    """Raises UserError when `output` would replace what is read: a recorder's file may have any name."""
    for source in sources:
        path = source.positions if isinstance(source, RunDirectory) else Path(source)
        try:
            same = os.path.samefile(path, output)
        except (OSError, ValueError):
            # One of them is not there, or is no path: whoever opens it says so.
            continue
        if same:
            raise UserError(f"{output} is the recording itself, which would be lost: give another name")


def run_of(source: Source) -> RunDirectory | None:
    """The run, or None for a file of positions alone."""
    if isinstance(source, RunDirectory):
        return source
    path = Path(source)
    return RunDirectory.open(path) if path.is_dir() or not path.exists() else None


def _positions_path(source: Source) -> Path:
    run = run_of(source)
    if run is not None:
        return run.positions
    assert not isinstance(source, RunDirectory)
    return Path(source)


def _newest_checkpoint(source: Source) -> int:
    """The iteration of a run's newest checkpoint by its name; -1 where there is none, or no run."""
    run = source if isinstance(source, RunDirectory) else RunDirectory(Path(source))
    found = list_checkpoints(run)
    return found[0][0] if found else -1


def _choose(file: SnapshotFile, patterns: Sequence[str] | None) -> list[str]:
    names = [layer.name for layer in file.layers]
    if patterns is None:
        return names
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"no layer is called {pattern!r}: the run has {', '.join(names)}")
    chosen = [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise UserError(f"no layer was chosen: the run has {', '.join(names)}")
    return chosen
