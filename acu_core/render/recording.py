"""The part of a run's snapshots that is to be drawn, in memory."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acu_core.errors import UserError
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile


@dataclass(frozen=True)
class Recording:
    """Positions (T, G, K, 2) by layer at iterations (T,).

    `hidden` (1 or G, K, 2) is the shape that the data were made with, where that is known.
    """

    iterations: npt.NDArray[np.int64]
    positions: dict[str, npt.NDArray[np.float32]]
    warm_up: int
    hidden: npt.NDArray[np.float64] | None

    def all_synapses(self) -> npt.NDArray[np.float32]:
        """Every synapse of every layer and group: (T, S, 2)."""
        return np.concatenate([p.reshape(len(p), -1, 2) for p in self.positions.values()], axis=1)


def load_recording(
    source: RunDirectory | str | os.PathLike[str],
    *,
    first: int | None = None,
    last: int | None = None,
    layers: Sequence[str] | None = None,
) -> Recording:
    """Reads iterations `first` to `last`, both included, of the layers whose names match one of the patterns `layers`.

    Raises UserError when nothing is left to draw, for a name that matches nothing, and for positions that are not
    finite.
    """
    file = SnapshotFile(_positions_path(source))
    if not file.layers:
        raise UserError(f"{file.path} has no layer with positions: the run's network has ordinary convolutions only")
    if not len(file):
        raise UserError(f"{file.path} has no snapshot yet: wait for the run's first iterations")
    names = _choose(file, layers)
    iterations = file.iterations.astype(np.int64)
    begin = 0 if first is None else int(np.searchsorted(iterations, first, side="left"))
    end = len(iterations) if last is None else int(np.searchsorted(iterations, last, side="right"))
    if begin >= end:
        raise UserError(
            f"{file.path} has no snapshot between the iterations {first if first is not None else 'first'} and "
            f"{last if last is not None else 'last'}: it has {iterations[0]} to {iterations[-1]}"
        )
    # Copied: a run that is resumed meanwhile cuts the file, and a map of what is gone would kill the process.
    positions = {name: np.array(file.positions(name)[begin:end]) for name in names}
    for name, values in positions.items():
        if not np.isfinite(values).all():
            raise UserError(f"positions of {name} are not finite: draw the part before that with --to")
    return Recording(
        iterations[begin:end],
        positions,
        _warm_up(file.extra.get("warm_up")),
        _hidden(file.extra.get("hidden_positions")),
    )


def _positions_path(source: RunDirectory | str | os.PathLike[str]) -> Path:
    if isinstance(source, RunDirectory):
        return source.positions
    path = Path(source)
    return path if path.is_file() else RunDirectory.open(path).positions


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


def _warm_up(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _hidden(value: Any) -> npt.NDArray[np.float64] | None:
    if value is None:
        return None
    try:
        positions = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return positions if positions.ndim == 3 and positions.shape[-1] == 2 and np.isfinite(positions).all() else None
