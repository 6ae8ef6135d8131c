"""Collects every iteration's loss, accuracy and shapes on the device, and writes them in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from acu_core.errors import UserError
from acu_core.learn.global_figures import global_figures
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.schedule import learning_rate, position_learning_rate
from acu_core.learn.step import StepFigures
from acu_core.learn.step_graph import Graph
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
    """Between two `flush`es nothing waits for the device.

    Several processes collect and flush at the same iterations: their figures come together, and the one that has files
    writes them.
    """

    def __init__(
        self,
        recipe: Recipe,
        layers: Mapping[str, ActiveConv2d],
        snapshots: SnapshotWriter | None,
        metrics: LogWriter | None,
        processes: Processes = ALONE,
        new_graph: Callable[[], Graph] | None = None,
    ) -> None:
        self._recipe = recipe
        self._processes = processes
        self._layers = layers
        self._snapshots = snapshots
        self._metrics = metrics
        self._iterations: list[int] = []
        self._figures: list[Tensor] = []
        self._shapes = ShapeCollector(layers, new_graph)

    @property
    def pending(self) -> int:
        """Iterations collected and not yet written."""
        return len(self._iterations)

    @torch.no_grad()
    def collect(self, iteration: int, figures: StepFigures) -> None:
        """Keeps one iteration: its figures, and the shapes as they are now."""
        self._iterations.append(iteration)
        self._figures.append(torch.stack([figures.loss, figures.accuracy]))
        if self._snapshots is not None:
            self._shapes.collect(iteration)

    def write_snapshot(self, iteration: int) -> None:
        """Writes the shapes as they are now, for the beginning of a run or without a training step."""
        if self._snapshots is None:
            return
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
        collected = torch.stack(self._figures).cpu()
        figures = global_figures(collected, self._recipe.data.batch_size, self._processes).numpy()
        with self._processes.together():
            self._write(iterations, figures)
        return BlockMeans(float(figures[:, 0].mean()), float(figures[:, 1].mean()))

    def check_own(self) -> None:
        """Raises DivergedError at the first loss of this process that is not finite, without asking the others."""
        for iteration, figures in zip(self._iterations, self._figures, strict=True):
            if not math.isfinite(loss := float(figures[0])):
                raise DivergedError(f"the loss became {loss} at iteration {iteration}")

    def _write(self, iterations: list[int], figures: npt.NDArray[np.float32]) -> None:
        if self._snapshots is None or self._metrics is None:
            self._iterations, self._figures = [], []
            return
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


def _shortest(value: np.float32) -> float:
    """The float whose JSON text is the shortest that names this float32."""
    return float(str(value))
