"""The optimizer of a recipe."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD
from torch.optim.optimizer import Optimizer

from acu_core.learn.joined_optimizer import JoinedOptimizer
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
    build, positions = imported(table.built_by), [group for group in groups if group["role"] == "positions"]
    apart = table.position_arguments()
    optimizer: Optimizer
    if apart is None or not positions:
        optimizer = build(groups, lr=table.learning_rate, **table.arguments())
    else:
        others = [group for group in groups if group["role"] != "positions"]
        optimizer = JoinedOptimizer(
            build(others, lr=table.learning_rate, **table.arguments()),
            SGD(positions, lr=table.first_position_learning_rate, **apart),
        )
    if table.normalize_positions and active_layers(model):
        normalize_positions(optimizer)
    return optimizer
