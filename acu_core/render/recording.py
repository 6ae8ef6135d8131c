"""The part of a run's snapshots that is to be drawn, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acu_core.errors import Action, Remedy, UserError
from acu_core.render.training_curve import TrainingCurve
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_selection import Floats, Source, run_of, select_snapshots
from acu_core.runs.snapshot_selection import Warn as Warn
from acu_core.runs.snapshot_selection import python_warning as python_warning


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
    shortened: bool = False
    """Whether it begins later than what was recorded, as was asked for."""

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
    source: Source,
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
    chosen = select_snapshots(source, first=first, last=last, layers=layers, warn=warn)
    positions = {name: chosen.positions(name) for name in chosen.layers}
    norms = {name: chosen.weight_norms(name) for name in chosen.layers}
    _check_finite({"positions": positions, "weight norms": norms}, chosen.iterations)
    return Recording(
        chosen.iterations,
        positions,
        norms,
        chosen.file.facts.warm_up,
        chosen.file.facts.hidden,
        _curve(source, warn),
        _title(source),
        first is not None and int(chosen.numbers[0]) > 0,
    )


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


def _title(source: Source) -> str:
    path = source.path if isinstance(source, RunDirectory) else Path(source)
    # A run may be named by ".".
    return path.resolve().name if path.is_dir() else path.stem


def _curve(source: Source, warn: Warn) -> TrainingCurve | None:
    run = run_of(source)
    if run is None or not run.metrics.exists():
        return None
    try:
        return TrainingCurve.of(read_metrics(run.metrics, imported=run.imported_iterations))
    except UserError as error:
        # The shapes are whole: what belongs beneath them is no reason not to draw them.
        warn(f"{error}; drawn without the errors of its evaluations")
        return None
