"""What holds at an iteration: learning rates, and whether the positions move. Pure functions of the recipe."""

from __future__ import annotations

from acu_core.recipe.schema import Recipe


def learning_rate(recipe: Recipe, iteration: int) -> float:
    """The weights' learning rate in training iteration `iteration` (1-based)."""
    return recipe.schedule.rate(recipe.optimizer.learning_rate, iteration)


def positions_move(recipe: Recipe, iteration: int) -> bool:
    """Whether iteration `iteration` (1-based) moves the positions: not in the warm-up, never when they are frozen."""
    return not recipe.optimizer.freeze_positions and iteration > recipe.schedule.warm_up


def positions_never_move(recipe: Recipe) -> bool:
    """Whether a training of active units would end before its warm-up does: the shapes stay what they were."""
    schedule, frozen = recipe.schedule, recipe.optimizer.freeze_positions
    return recipe.network.unit == "acu" and not frozen and schedule.warm_up >= schedule.iterations


def position_learning_rate(recipe: Recipe, iteration: int) -> float:
    """The positions' learning rate in iteration `iteration`: 0 while they stay put."""
    table = recipe.optimizer
    if not positions_move(recipe, iteration):
        return 0.0
    if table.position_learning_rate is not None:
        return recipe.schedule.rate(table.position_learning_rate, iteration)
    # The schedule first, then the factor: the order decides the last bit.
    return learning_rate(recipe, iteration) * (table.position_learning_rate_factor or 0.0)


def evaluates(recipe: Recipe, iteration: int) -> bool:
    """Whether the network is evaluated after iteration `iteration`."""
    every = recipe.schedule.evaluate_every
    return iteration == recipe.schedule.iterations or (every > 0 and iteration > 0 and iteration % every == 0)


def saves(recipe: Recipe, iteration: int) -> bool:
    """Whether a checkpoint is saved after iteration `iteration`."""
    schedule = recipe.schedule
    due = iteration % schedule.checkpoint_every == 0
    return due or iteration == schedule.iterations or iteration in schedule.keep
