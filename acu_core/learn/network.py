"""The network that a recipe asks for, and its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from acu_core.errors import UserError
from acu_core.learn.workplace import MEMORY_FORMATS, Workplace
from acu_core.nn.networks import network_of
from acu_core.nn.state_misfit import state_misfit
from acu_core.recipe.schema import Recipe


def recipe_network(recipe: Recipe, channels: int, classes: int, *, pretrained: bool) -> nn.Module:
    """The network of the recipe's table, for images of `channels` channels.

    Raises UserError when it cannot be built: for such images, without torchvision, or without its weights.
    """
    try:
        return network_of(recipe.network, in_channels=channels, classes=classes, pretrained=pretrained)
    except ValueError as error:
        raise UserError(f"the [network] table of the recipe cannot be used: {error}") from error


def new_network(recipe: Recipe, place: Workplace, *, pretrained: bool = True) -> nn.Module:
    """The recipe's network on its device, initialised from the recipe's seed. Changes PyTorch's global generator.

    `pretrained=False`, where a state is loaded next, does not read the weights that a new run would start with: they
    may be gone.
    """
    torch.manual_seed(recipe.seed)
    model = recipe_network(recipe, place.data.channels, place.data.classes, pretrained=pretrained)
    moved: nn.Module = model.to(place.device).to(memory_format=MEMORY_FORMATS[recipe.machine.memory_format])
    return moved


def load_network_state(model: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Loads a state dict. Raises UserError that names `source` when it belongs to another network."""
    wanted = model.state_dict()
    misfit = state_misfit(wanted, state)
    # PyTorch would convert them, and drop what a whole number cannot hold.
    kinds = [key for key in wanted if key in state and wanted[key].dtype != state[key].dtype]
    if kinds and not misfit:
        misfit = f"{kinds[0]} is {state[kinds[0]].dtype}, not {wanted[kinds[0]].dtype}"
    try:
        if not misfit:
            model.load_state_dict(state)
    except (RuntimeError, KeyError, ValueError) as error:
        misfit = " ".join(str(error).split())
    if misfit:
        raise UserError(f"{source} does not fit the network of the run's recipe: {misfit}")
