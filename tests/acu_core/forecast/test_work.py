from __future__ import annotations

from collections.abc import Callable

import pytest

from acu_core.forecast.work import Work, work_of
from acu_core.learn.schedule import evaluates, positions_move, saves
from acu_core.recipe.schema import Recipe

SCHEDULES = (
    "schedule.iterations=12",
    "schedule.evaluate_every=0",
    "schedule.evaluate_every=5",
    "schedule.checkpoint_every=4",
    "schedule.checkpoint_every=12",
    "schedule.checkpoint_every=100",
    "schedule.warm_up=0",
    "schedule.warm_up=12",
    "schedule.warm_up=100",
    "optimizer.freeze_positions=true",
    "schedule.keep=[0, 1, 3, 4, 5, 12]",
    "schedule.keep=[5, 10]",
)


@pytest.mark.parametrize("override", SCHEDULES)
@pytest.mark.parametrize("after", [0, 2, 4, 5, 11])
def test_what_is_counted_is_what_the_training_loop_does(tiny: Callable[..., Recipe], override: str, after: int) -> None:
    recipe = tiny(override)
    left = range(after + 1, recipe.schedule.iterations + 1)
    moving = sum(positions_move(recipe, iteration) for iteration in left)
    expected = Work(
        still=len(left) - moving,
        moving=moving,
        evaluations=sum(evaluates(recipe, iteration) for iteration in left),
        checkpoints=sum(saves(recipe, iteration) or evaluates(recipe, iteration) for iteration in left) + (after == 0),
    )
    assert work_of(recipe, after) == expected


def test_convolutions_have_no_positions_to_move_and_a_finished_run_nothing_to_do(tiny: Callable[..., Recipe]) -> None:
    assert work_of(tiny('network.unit="convolution"')).moving == 0
    assert work_of(tiny(), 12) == Work()
    assert work_of(tiny(), 12) + Work(1, 2, 3, 4) == Work(1, 2, 3, 4)
