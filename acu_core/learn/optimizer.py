"""The optimizer of a recipe."""

from __future__ import annotations

import torch
from torch import nn

from acu_core.nn import active_layers, normalize_positions, parameter_groups
from acu_core.recipe.schema import Recipe


def new_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with the recipe's groups (weights, rest, positions) and no momentum built up yet."""
    options = recipe.optimizer
    groups = parameter_groups(
        model,
        lr=options.learning_rate,
        position_lr=options.learning_rate * options.position_learning_rate_factor,
        weight_decay=options.weight_decay,
    )
    optimizer = torch.optim.SGD(groups, lr=options.learning_rate, momentum=options.momentum)
    if options.normalize_positions and active_layers(model):
        normalize_positions(optimizer)
    return optimizer
