"""Shortens a recipe's schedule for a trial."""

from __future__ import annotations

from acu_core.errors import UserError
from acu_core.recipe.schedules.steps import shortened_divisions
from acu_core.recipe.schema import Recipe

LEAST_ITERATIONS = 20
"""Below that, warm-up and divisions of the paper's schedules would fall together."""
LEAST_EVALUATE_EVERY = 500
"""Evaluating CIFAR-10's test images costs as much as some twenty steps, however short the training is."""
LEAST_CHECKPOINT_EVERY = 100

LARGEST_FRACTION = 0.02
"""Weight of the newest batch in BatchNorm's running average: at most that of 50 batches, or their noise would count."""


def check_scale(scale: float) -> None:
    """Raises UserError unless `scale` is above 0 and at most 1."""
    # Written so that NaN is refused too.
    if not 0 < scale <= 1:
        raise UserError(f"the scale must be above 0 and at most 1 (1 is the paper's schedule), got {scale:g}")


def scaled(recipe: Recipe, scale: float) -> Recipe:
    """The recipe with all its numbers of iterations multiplied by `scale`, those of its fine-tuning too.

    So is the time over which BatchNorm averages: over the paper's 1,000 iterations, a short trial would be evaluated
    with statistics of positions and weights that it has long left (seen: 20 points of error, with active units alone).
    Rounded to whole iterations; at least 20 are trained, and the warm-up, the divisions and a linear start keep their
    shares of them.
    The test images are evaluated at most every 500 iterations (and at the end), checkpoints saved at most every 100.
    """
    check_scale(scale)
    if scale == 1:
        return recipe
    schedule = recipe.schedule
    iterations, share = _shortened(schedule.iterations, scale)
    changes: dict[str, object] = {
        "schedule": {
            "iterations": iterations,
            "warm_up": max(1, round(schedule.warm_up * share)) if schedule.warm_up else 0,
            **schedule.shortened(share, iterations),
            "keep": sorted({round(iteration * share) for iteration in schedule.keep}),
            "evaluate_every": _interval(schedule.evaluate_every, share, LEAST_EVALUATE_EVERY),
            "checkpoint_every": _interval(schedule.checkpoint_every, share, LEAST_CHECKPOINT_EVERY),
        },
        "network": {"batch_norm_fraction": _fraction(recipe.network.batch_norm_fraction, scale)},
    }
    if recipe.average is not None:
        # Like BatchNorm's: it would hold the weights of the beginning.
        changes["average"] = {"decay": 1 - _fraction(1 - recipe.average.decay, scale)}
    finetuning = recipe.round_and_finetune
    if finetuning is not None:
        iterations, share = _shortened(finetuning.iterations, scale)
        changes["round_and_finetune"] = {
            "iterations": iterations,
            "divisions": shortened_divisions(finetuning.divisions, share),
        }
    return recipe.changed(**changes)


def _shortened(iterations: int, scale: float) -> tuple[int, float]:
    shorter = min(iterations, max(LEAST_ITERATIONS, round(iterations * scale)))
    return shorter, shorter / iterations


def _fraction(fraction: float, scale: float) -> float:
    return max(fraction, min(fraction / scale, LARGEST_FRACTION))


def _interval(every: int, share: float, least: int) -> int:
    # 0 is never; an interval that was below the least one already stays.
    return max(round(every * share), min(every, least))
