"""Collects every iteration's loss, accuracy and shapes on the device, and writes them in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acu_core.errors import UserError
from acu_core.learn.schedule import learning_rate, position_learning_rate
from acu_core.learn.step import StepFigures
from acu_core.nn.active_conv2d import ActiveConv2d
from acu_core.recipe.schema import Recipe
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.metrics import TrainingRecord
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter


class DivergedError(UserError):
    """The loss or the network is not finite any more."""


@dataclass(frozen=True)
class BlockMeans:
    """Mean loss and accuracy (0 to 1) of the training batches of one block."""

    loss: float
    accuracy: float


def layer_entries(layers: Mapping[str, ActiveConv2d]) -> list[LayerEntry]:
    """The layer table of `positions.bin`, in module order."""
    return [LayerEntry(name, layer.positions.shape[0], layer.positions.shape[1]) for name, layer in layers.items()]


def _weight_norms(layer: ActiveConv2d) -> Tensor:
    """(G, K): the length of all weights of a synapse, within its position group."""
    groups = layer.positions.shape[0]
    outputs, inputs, synapses = layer.weight.shape
    grouped = layer.weight.reshape(groups, outputs // groups, inputs, synapses)
    norms: Tensor = torch.linalg.vector_norm(grouped, dim=(1, 2))
    return norms


class Recorder:
    """Between two `flush`es nothing waits for the device."""

    def __init__(
        self, recipe: Recipe, layers: Mapping[str, ActiveConv2d], snapshots: SnapshotWriter, metrics: LogWriter
    ) -> None:
        self._recipe = recipe
        self._layers = layers
        self._snapshots = snapshots
        self._metrics = metrics
        self._iterations: list[int] = []
        self._figures: list[Tensor] = []
        self._shapes: list[Tensor] = []

    @property
    def pending(self) -> int:
        """Iterations collected and not yet written."""
        return len(self._iterations)

    @torch.no_grad()
    def collect(self, iteration: int, figures: StepFigures) -> None:
        """Keeps one iteration: its figures, and the shapes as they are now."""
        self._iterations.append(iteration)
        self._figures.append(torch.stack([figures.loss, figures.accuracy]))
        self._shapes.append(self._shape())

    @torch.no_grad()
    def write_snapshot(self, iteration: int) -> None:
        """Writes the shapes as they are now, for the beginning of a run or without a training step."""
        self._write_shapes([iteration], [self._shape()])

    def flush(self) -> BlockMeans | None:
        """Writes what was collected; None when that is nothing.

        Raises DivergedError at the first loss that is not finite, with everything before it written.
        """
        if not self._iterations:
            return None
        iterations, shapes = self._iterations, self._shapes
        figures = torch.stack(self._figures).cpu().numpy()
        self._iterations, self._figures, self._shapes = [], [], []
        finite = np.isfinite(figures[:, 0])
        good = len(iterations) if finite.all() else int(finite.argmin())
        self._write_shapes(iterations[:good], shapes[:good])
        for iteration, (loss, accuracy) in zip(iterations[:good], figures[:good], strict=True):
            record = TrainingRecord(
                iteration=iteration,
                loss=_shortest(loss),
                accuracy=_shortest(accuracy),
                learning_rate=learning_rate(self._recipe, iteration),
                position_learning_rate=position_learning_rate(self._recipe, iteration),
            )
            self._metrics.append(record.entry())
        if good < len(iterations):
            raise DivergedError(f"the loss became {float(figures[good, 0])} at iteration {iterations[good]}")
        return BlockMeans(float(figures[:, 0].mean()), float(figures[:, 1].mean()))

    def _shape(self) -> Tensor:
        parts = [layer.positions.detach().float().reshape(-1) for layer in self._layers.values()]
        parts += [_weight_norms(layer).float().reshape(-1) for layer in self._layers.values()]
        return torch.cat(parts) if parts else torch.empty(0)

    def _write_shapes(self, iterations: list[int], shapes: list[Tensor]) -> None:
        if not iterations:
            return
        values = torch.stack(shapes).cpu()
        sizes = [layer.positions.numel() for layer in self._layers.values()]
        pieces = torch.split(values, [*sizes, *(size // 2 for size in sizes)], dim=1) if sizes else ()
        positions, norms = [], []
        for index, layer in enumerate(self._layers.values()):
            positions.append(pieces[index].reshape(len(iterations), *layer.positions.shape).numpy())
            norms.append(pieces[len(sizes) + index].reshape(len(iterations), *layer.positions.shape[:2]).numpy())
        self._snapshots.append_block(iterations, positions, norms)


def _shortest(value: np.float32) -> float:
    """The float whose JSON text is the shortest that names this float32."""
    return float(str(value))
