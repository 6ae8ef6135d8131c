"""The sizes of the built-in recipes' data sets, known without reading them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from acu_core.nn.networks import network_of
from acu_core.nn.parameter_count import parameter_count
from acu_core.recipe.schema import Recipe


@dataclass(frozen=True)
class DataSize:
    """Images (channels, size, size) as a network gets them, classes, and how many images there are.

    `in_memory` says whether all of them lie in memory while a network trains.
    """

    channels: int
    size: int
    classes: int
    train_images: int
    test_images: int
    in_memory: bool = True


SIZES = {
    "planted": DataSize(2, 17, 8, 40_000, 5_000),
    "cifar10": DataSize(3, 32, 10, 50_000, 10_000),
    "cifar100": DataSize(3, 32, 100, 50_000, 10_000),
    "fashion-mnist": DataSize(1, 28, 10, 60_000, 10_000),
    "places365": DataSize(3, 224, 365, 1_803_460, 36_500, in_memory=False),
}


def recipe_network(recipe: Recipe) -> nn.Module | None:
    """The recipe's network without its data set, on PyTorch's default device; None where the data's sizes are unknown.

    Under `torch.device("meta")` it costs no memory: enough to count parameters.
    """
    size = SIZES.get(recipe.data.name)
    if size is None:
        return None
    return network_of(recipe.network, in_channels=size.channels, classes=size.classes, pretrained=False)


def parameters(recipe: Recipe) -> int | None:
    """How many parameters the recipe's network has, for the classes of its data set; None where those are unknown."""
    with torch.device("meta"):
        model = recipe_network(recipe)
    return parameter_count(model) if model is not None else None
