"""The receptive fields of a run: its newest weights, with any positions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from acu_core.errors import Action, Remedy, UserError
from acu_core.learn.network import load_network_state, recipe_network
from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.gradient_bound import GradientBound
from acu_core.nn.receptive_field import ReceptiveField, field_of
from acu_core.nn.shapes import initial_positions
from acu_core.runs.checkpoints import Checkpoint
from acu_core.train.events import Events, NoEvents
from acu_core.train.stored_run import StoredRun


class StoredReceptiveFields:
    """Computes the receptive fields of the network of a run's newest checkpoint. Get one by `open`.

    The data is read only where neither recipe nor checkpoint tells how large its images are.
    """

    def __init__(self, model: nn.Module, image_shape: tuple[int, int, int], iteration: int) -> None:
        self.iteration = iteration
        """Of the weights."""
        self._bound = GradientBound(model, image_shape)
        # Computed now, so that a network without a bound is refused now.
        self._fixed = field_of(
            self._bound,
            {
                name: initial_positions("square", layer.position_groups, layer.kernel_size, layer.dilation)
                for name, layer in active_layers(model).items()
            },
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str], events: Events | None = None) -> StoredReceptiveFields:
        """Those of the run at `path`.

        Raises UserError when there is no run, no checkpoint, or no such bound for its network.
        """
        if os.path.isfile(path):
            raise UserError(
                f"{path} holds positions alone, and a receptive field needs the weights of a run too",
                Remedy(Action.DRAW_SHAPES),
            )
        run = StoredRun.open(path)
        events = events or NoEvents()
        checkpoint = run.checkpoint(None, events)
        with torch.random.fork_rng(devices=[]):
            model, shape = _network(run, checkpoint, events)
        try:
            return cls(model, shape, checkpoint.iteration)
        except UserError as error:
            raise UserError(str(error), Remedy(Action.DRAW_SHAPES)) from error

    def fixed_grid(self) -> ReceptiveField:
        """With every synapse where an ordinary convolution has it."""
        return self._fixed

    def learned(self, positions: Mapping[str, npt.NDArray[Any]]) -> ReceptiveField:
        """With `positions` (G, K, 2) by the name of a layer. Raises UserError for those of another network."""
        return field_of(self._bound, {name: torch.from_numpy(values) for name, values in positions.items()})


def _network(run: StoredRun, checkpoint: Checkpoint, events: Events) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network on the CPU, and the shape (C, H, W) of its images."""
    recipe, shape = run.recipe, run.recipe.data.image_shape
    # The last of all networks here and of torchvision's are the logits.
    sizes = [len(value) for value in checkpoint.model.values() if value.dim()]
    if shape is not None and sizes:
        try:
            model = recipe_network(recipe, shape[0], sizes[-1], pretrained=False)
            load_network_state(model, checkpoint.model, str(checkpoint.path))
        except UserError:
            # A network whose last tensor is something else: the data tell how many classes there are.
            pass
        else:
            return model, shape
    place = run.workplace(device="cpu", events=events)
    batches = place.data.test_batches(1)
    channels, height, width = next(batches)[0].shape[1:]
    batches.close()
    return run.network(checkpoint, place), (channels, height, width)
