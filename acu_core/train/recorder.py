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
from acu_core.runs.snapshot_writer import SnapshotWriter
from acu_core.train.shape_collector import ShapeCollector


class DivergedError(UserError):
    """The loss or the network is not finite any more."""


@dataclass(frozen=True)
class BlockMeans:
    """Mean loss and accuracy (0 to 1) of the training batches of one block."""

    loss: float
    accuracy: float


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
        self._shapes = ShapeCollector(layers)

    @property
    def pending(self) -> int:
        """Iterations collected and not yet written."""
        return len(self._iterations)

    @torch.no_grad()
    def collect(self, iteration: int, figures: StepFigures) -> None:
        """Keeps one iteration: its figures, and the shapes as they are now."""
        self._iterations.append(iteration)
        self._figures.append(torch.stack([figures.loss, figures.accuracy]))
        self._shapes.collect(iteration)

    def write_snapshot(self, iteration: int) -> None:
        """Writes the shapes as they are now, for the beginning of a run or without a training step."""
        shapes = ShapeCollector(self._layers)
        shapes.collect(iteration)
        shapes.write(self._snapshots)

    def flush(self) -> BlockMeans | None:
        """Writes what was collected; None when that is nothing.

        Raises DivergedError at the first loss that is not finite, with everything before it written.
        """
        if not self._iterations:
            return None
        iterations = self._iterations
        figures = torch.stack(self._figures).cpu().numpy()
        finite = np.isfinite(figures[:, 0])
        good = len(iterations) if finite.all() else int(finite.argmin())
        self._shapes.write(self._snapshots, good)
        # Only now: what the disk refuses is kept, the shapes and the figures alike.
        self._iterations, self._figures = [], []
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


def _shortest(value: np.float32) -> float:
    """The float whose JSON text is the shortest that names this float32."""
    return float(str(value))
