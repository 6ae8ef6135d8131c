"""What a recipe's text alone does not show: whether its network can be built and its data set has its options."""

from __future__ import annotations

import torch

from acu_core.data.loading import check_options
from acu_core.learn.network import recipe_network
from acu_core.recipe.schema import Recipe


def check_recipe(recipe: Recipe) -> None:
    """Builds the recipe's network, without its pretrained weights, and looks at its data's options; reads no data.

    Raises UserError that names what is wrong.
    """
    check_options(recipe.data.name, recipe.data.options)
    with torch.random.fork_rng(devices=[]):
        # Any sizes do: names and options are in question.
        recipe_network(recipe, channels=3, classes=10, pretrained=False)
