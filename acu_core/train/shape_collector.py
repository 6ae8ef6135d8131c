"""The shapes of a network's layers, collected on the device and handed on in blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from acu_core.learn.captured_step import CapturedResult
from acu_core.learn.step_graph import Graph
from acu_core.nn.active_conv2d import ActiveConv2d
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

BLOCK = 256
BLOCK_SECONDS = 0.5
"""A block of records is written after so many iterations or seconds: how it is cut is seen in no file."""


def layer_entries(layers: Mapping[str, ActiveConv2d]) -> list[LayerEntry]:
    """The layer table of `positions.bin`, in module order."""
    return [LayerEntry(name, layer.positions.shape[0], layer.positions.shape[1]) for name, layer in layers.items()]


class ShapeCollector:
    """Keeps positions and weight norms as they are at each `collect`; until `write`, nothing waits for the device.

    With `new_graph` what `collect` computes is captured after a few calls and replayed from then on: the layers'
    parameters must then all lie on the graph's device, and stay where they are.
    """

    def __init__(self, layers: Mapping[str, ActiveConv2d], new_graph: Callable[[], Graph] | None = None) -> None:
        self._layers = layers
        self._iterations: list[int] = []
        self._shapes: list[Tensor] = []
        self._captured = None if new_graph is None else CapturedResult(self._shape, new_graph)

    @property
    def pending(self) -> int:
        """Snapshots collected and not yet written."""
        return len(self._iterations)

    @torch.no_grad()
    def collect(self, iteration: int) -> None:
        """Keeps the shapes as they are now."""
        self._shapes.append(self._shape() if self._captured is None else self._captured())
        self._iterations.append(iteration)

    def write(self, snapshots: SnapshotWriter, count: int | None = None) -> None:
        """Writes the first `count` of what was collected, by default all of it, and forgets the rest.

        Where the disk refuses it, all that was collected is kept for another try.
        """
        iterations, shapes = self._iterations[:count], self._shapes[:count]
        if iterations:
            snapshots.append_block(iterations, *self._blocks(shapes))
        self._iterations, self._shapes = [], []

    def _blocks(self, shapes: list[Tensor]) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
        """For each layer positions (T, G, K, 2), and weight norms (T, G, K)."""
        values = _stacked(shapes)
        sizes = [layer.positions.numel() for layer in self._layers.values()]
        pieces = torch.split(values, [*sizes, *(size // 2 for size in sizes)], dim=1) if sizes else ()
        positions, norms = [], []
        for index, layer in enumerate(self._layers.values()):
            positions.append(pieces[index].reshape(len(shapes), *layer.positions.shape).numpy())
            norms.append(pieces[len(sizes) + index].reshape(len(shapes), *layer.positions.shape[:2]).numpy())
        return positions, norms

    def _shape(self) -> Tensor:
        parts = [layer.positions.detach().float().reshape(-1) for layer in self._layers.values()]
        parts += [_weight_norms(layer).float().reshape(-1) for layer in self._layers.values()]
        if not parts:
            return torch.empty(0)
        device = parts[0].device
        # A network may lie on several devices.
        return torch.cat([part.to(device) for part in parts])


def _weight_norms(layer: ActiveConv2d) -> Tensor:
    """(G, K): the length of all weights of a synapse, within its position group."""
    groups = layer.positions.shape[0]
    outputs, inputs, synapses = layer.weight.shape
    grouped = layer.weight.reshape(groups, outputs // groups, inputs, synapses)
    # A 16-bit norm would lose what the weights still tell, and float16 ends at 65,504.
    dtype = torch.float32 if grouped.dtype in (torch.float16, torch.bfloat16) else None
    norms: Tensor = torch.linalg.vector_norm(grouped, dim=(1, 2), dtype=dtype)
    return norms


def _stacked(shapes: list[Tensor]) -> Tensor:
    """(T, ...) on the CPU."""
    # The network may have moved to another device meanwhile.
    alike = len({shape.device for shape in shapes}) == 1
    return torch.stack(shapes).cpu() if alike else torch.stack([shape.cpu() for shape in shapes])
