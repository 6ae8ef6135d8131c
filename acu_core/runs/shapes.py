"""The recorded shapes as arrays, and as one long table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from acu_core.errors import UserError
from acu_core.runs.snapshot_selection import Source, Warn, python_warning, select_snapshots

if TYPE_CHECKING:
    import pandas

COLUMNS = ("iteration", "layer", "group", "synapse", "y", "x", "weight_norm")


class LayerShapes(NamedTuple):
    """Positions (T, G, K, 2) of a layer, last axis (y, x) in input pixels, and weight norms (T, G, K)."""

    positions: npt.NDArray[np.float32]
    weight_norms: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Shapes:
    """The shapes of a network's layers at `iterations` (T,), which ascend; layers by name in the network's order.

    `warm_up` is the number of iterations in which positions rest. `hidden` (1 or G, K, 2) is the shape that the data
    were made with, where that is known.
    """

    iterations: npt.NDArray[np.int64]
    layers: Mapping[str, LayerShapes]
    warm_up: int = 0
    hidden: npt.NDArray[np.float64] | None = None

    @property
    def synapses(self) -> list[tuple[str, int, int]]:
        """Layer, group and synapse (row-major, 0 to K - 1) of each row of one iteration of the table."""
        return [
            (name, group, synapse)
            for name, layer in self.layers.items()
            for group in range(layer.positions.shape[1])
            for synapse in range(layer.positions.shape[2])
        ]

    def rows(self, begin: int, end: int) -> npt.NDArray[np.float32]:
        """y, x and weight norm of every synapse at iterations `begin` to `end` of T, (end - begin, S, 3)."""
        count = len(self.iterations[begin:end])
        parts = [
            np.concatenate([layer.positions[begin:end], layer.weight_norms[begin:end, ..., None]], axis=-1)
            for layer in self.layers.values()
        ]
        return np.concatenate([part.reshape(count, -1, 3) for part in parts], axis=1)

    def table(self) -> pandas.DataFrame:
        """A pandas DataFrame with a row for each iteration and synapse; its columns are `COLUMNS`.

        y, x and weight_norm are float32 as they were recorded. Raises UserError where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError(
                "a table needs pandas, which is not installed: pip install 'active-convolution[table]'"
            ) from error
        steps = len(self.iterations)
        names, groups, numbers = zip(*self.synapses, strict=True)
        values = self.rows(0, steps).reshape(-1, 3)
        columns: dict[str, Any] = {
            "iteration": np.repeat(self.iterations, len(names)),
            "layer": np.tile(np.array(names, dtype=object), steps),
            "group": np.tile(np.array(groups), steps),
            "synapse": np.tile(np.array(numbers), steps),
            "y": values[:, 0],
            "x": values[:, 1],
            "weight_norm": values[:, 2],
        }
        return pandas.DataFrame(columns)


def read_shapes(
    path: Source,
    *,
    first: int | None = None,
    last: int | None = None,
    every: int = 1,
    layers: Sequence[str] | None = None,
    warn: Warn = python_warning,
) -> Shapes:
    """The shapes that a run or a `ShapeRecorder` has written so far, also while it goes on.

    Args:
        path: a run's directory, or a file of positions alone.
        first: the first iteration that is wanted, and `last` the last one; by default all.
        every: only iterations that are multiples of it.
        layers: patterns of layers' names, such as "conv3/*"; by default all layers.
        warn: is told of snapshots that are damaged and left out, and of missing ones.

    Raises:
        UserError: there is no such file, it is foreign, or nothing in it is whole or was asked for.
    """
    chosen = select_snapshots(path, first=first, last=last, every=every, layers=layers, warn=warn)
    # Contiguous, as other libraries like them: what was chosen are views of whole records.
    found = {
        name: LayerShapes(np.ascontiguousarray(chosen.positions(name)), np.ascontiguousarray(chosen.weight_norms(name)))
        for name in chosen.layers
    }
    facts = chosen.file.facts
    return Shapes(chosen.iterations, found, facts.warm_up, facts.hidden)
