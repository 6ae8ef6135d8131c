"""What a training has to do, counted from its recipe alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from acu_core.recipe.schema import Recipe


@dataclass(frozen=True)
class Work:
    """How many iterations leave the positions where they are and how many move them, evaluations, checkpoints.

    A network without positions only has iterations of the first kind.
    """

    still: int = 0
    moving: int = 0
    evaluations: int = 0
    checkpoints: int = 0

    @property
    def iterations(self) -> int:
        """Both kinds."""
        return self.still + self.moving

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def work_of(recipe: Recipe, after: int = 0) -> Work:
    """What is still to be done of a run whose iteration `after` is done; a frozen twin is a run of its own."""
    last = recipe.schedule.iterations
    if after >= last:
        return Work()
    moves = recipe.network.unit == "acu" and not recipe.optimizer.freeze_positions
    moving = max(0, last - max(after, recipe.schedule.warm_up)) if moves else 0
    evaluating, saving = recipe.schedule.evaluate_every, recipe.schedule.checkpoint_every

    def times(every: int) -> int:
        return (last - 1) // every - after // every if every else 0

    # A network is saved before it is evaluated too; what falls together is saved once.
    both = times(math.lcm(evaluating, saving)) if evaluating else 0
    kept = [iteration for iteration in recipe.schedule.keep if after < iteration < last]
    further = sum(bool(iteration % saving and not (evaluating and iteration % evaluating == 0)) for iteration in kept)
    checkpoints = times(saving) + times(evaluating) - both + further
    return Work(
        still=last - after - moving,
        moving=moving,
        evaluations=times(evaluating) + 1,
        # The first one is that of iteration 0.
        checkpoints=checkpoints + 1 + (after == 0),
    )
