"""The part of a run's snapshots that is to be drawn, in memory."""

from __future__ import annotations

import fnmatch
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acu_core.errors import Action, Remedy, UserError
from acu_core.render.training_curve import TrainingCurve
from acu_core.runs.checkpoints import list_checkpoints
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

Warn = Callable[[str], None]
Floats = npt.NDArray[np.float32]


def python_warning(text: str) -> None:
    """Warns as Python libraries do."""
    warnings.warn(text, stacklevel=2)


@dataclass(frozen=True)
class Recording:
    """Positions (T, G, K, 2) and weight norms (T, G, K) by layer at iterations (T,).

    `hidden` (1 or G, K, 2) is the shape that the data were made with, where that is known; `curve` is None for a file
    of positions alone and for a run whose log cannot be read. `title` is the name of the run's directory or the file.
    """

    iterations: npt.NDArray[np.int64]
    positions: dict[str, npt.NDArray[np.float32]]
    weight_norms: dict[str, npt.NDArray[np.float32]]
    warm_up: int
    hidden: npt.NDArray[np.float64] | None
    curve: TrainingCurve | None = None
    title: str = ""

    def require(self, iteration: int) -> None:
        """Raises UserError that names the nearest recorded ones, unless there is a snapshot of `iteration`."""
        after = int(np.searchsorted(self.iterations, iteration))
        nearest = [str(found) for found in self.iterations[max(0, after - 1) : after + 1]]
        if str(iteration) not in nearest:
            raise UserError(
                f"{self.title} has no snapshot of iteration {iteration}: the nearest "
                f"{'are' if len(nearest) > 1 else 'is'} {' and '.join(nearest)}"
            )

    def all_synapses(self) -> npt.NDArray[np.float32]:
        """Every synapse of every layer and group: (T, S, 2)."""
        return np.concatenate([p.reshape(len(p), -1, 2) for p in self.positions.values()], axis=1)


def load_recording(
    source: RunDirectory | str | os.PathLike[str],
    *,
    first: int | None = None,
    last: int | None = None,
    layers: Sequence[str] | None = None,
    warn: Warn = python_warning,
) -> Recording:
    """Reads iterations `first` to `last`, both included, of the layers whose names match one of the patterns `layers`.

    Snapshots that are damaged are left out, and `warn` is told which; it is told too when the file ends before the
    run's newest checkpoint. Raises UserError when nothing is left to draw, for a name that matches nothing, and for
    positions and weight norms that are not finite.
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
    chosen, alone = numbers[begin:end], len(names) < len(file.layers)
    positions = {name: _pick(file.positions(name), chosen, alone=alone) for name in names}
    norms = {name: _pick(file.weight_norms(name), chosen, alone=alone) for name in names}
    _check_finite({"positions": positions, "weight norms": norms}, iterations[begin:end])
    return Recording(
        iterations[begin:end],
        positions,
        norms,
        file.facts.warm_up,
        file.facts.hidden,
        _curve(source, warn),
        _title(source),
    )


def _pick(values: Floats, numbers: npt.NDArray[np.int64], *, alone: bool) -> Floats:
    """Records `numbers` (N,), which ascend, of values (T, ...); `alone` without the memory of what is not picked."""
    if numbers[-1] - numbers[0] + 1 > len(numbers):
        return values[numbers]
    part = values[numbers[0] : numbers[-1] + 1]
    return part.copy() if alone else part


def _check_finite(recorded: Mapping[str, Mapping[str, Floats]], iterations: npt.NDArray[np.int64]) -> None:
    """Raises UserError that names the first iteration (of T) at which a value (T, ...) of a layer is not finite."""
    found = []
    for what, layers in recorded.items():
        for name, values in layers.items():
            finite = np.isfinite(values)
            if not finite.all():
                found.append((int(finite.reshape(len(values), -1).all(axis=1).argmin()), f"{what} of {name}"))
    if found:
        wrong, name = min(found, key=lambda place: place[0])
        remedies = [Remedy(Action.SHORTEN, str(iterations[wrong - 1]))] if wrong else []
        raise UserError(f"{name} are not finite at iteration {iterations[wrong]}", *remedies)


def _run(source: RunDirectory | str | os.PathLike[str]) -> RunDirectory | None:
    """The run, or None for a file of positions alone."""
    if isinstance(source, RunDirectory):
        return source
    path = Path(source)
    return RunDirectory.open(path) if path.is_dir() or not path.exists() else None


def _title(source: RunDirectory | str | os.PathLike[str]) -> str:
    path = source.path if isinstance(source, RunDirectory) else Path(source)
    # A run may be named by ".".
    return path.resolve().name if path.is_dir() else path.stem


def _curve(source: RunDirectory | str | os.PathLike[str], warn: Warn) -> TrainingCurve | None:
    run = _run(source)
    if run is None or not run.metrics.exists():
        return None
    try:
        return TrainingCurve.of(read_metrics(run.metrics, imported=run.imported_iterations))
    except UserError as error:
        # The shapes are whole: what belongs beneath them is no reason not to draw them.
        warn(f"{error}; drawn without the errors of its evaluations")
        return None


def _positions_path(source: RunDirectory | str | os.PathLike[str]) -> Path:
    run = _run(source)
    if run is not None:
        return run.positions
    assert not isinstance(source, RunDirectory)
    return Path(source)


def _newest_checkpoint(source: RunDirectory | str | os.PathLike[str]) -> int:
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
