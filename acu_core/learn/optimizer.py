"""The optimizer of a recipe."""

from __future__ import annotations

from torch import nn
from torch.optim.optimizer import Optimizer

from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.optimization import normalize_positions, parameter_groups
from acu_core.recipe.registry import imported
from acu_core.recipe.schema import Recipe


def new_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimizer with its groups (weights, rest, positions) and no momentum built up yet."""
    table = recipe.optimizer
    groups = parameter_groups(
        model,
        lr=table.learning_rate,
        position_lr=table.first_position_learning_rate,
        weight_decay=table.weight_decay,
    )
    optimizer: Optimizer = imported(table.built_by)(groups, lr=table.learning_rate, **table.arguments())
    if table.normalize_positions and active_layers(model):
        normalize_positions(optimizer)
    return optimizer
