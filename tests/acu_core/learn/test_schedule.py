from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR
from torch.optim.optimizer import Optimizer

from acu_core.learn import schedule
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe

RECIPE = load_recipe(
    "planted",
    [
        "schedule.iterations=10",
        "schedule.warm_up=2",
        "schedule.divisions=[4, 8]",
        "schedule.evaluate_every=3",
        "schedule.checkpoint_every=4",
        "optimizer.learning_rate=1.0",
        "optimizer.position_learning_rate_factor=0.5",
    ],
)
EVERY = range(1, 11)


def test_a_division_acts_after_its_iteration() -> None:
    assert [schedule.learning_rate(RECIPE, i) for i in EVERY] == [1.0] * 4 + [0.1] * 4 + [0.01] * 2


def test_positions_wait_for_the_end_of_the_warm_up() -> None:
    assert [schedule.position_learning_rate(RECIPE, i) for i in EVERY] == [0.0] * 2 + [0.5] * 2 + [0.05] * 4 + [
        0.005
    ] * 2
    frozen = RECIPE.changed(optimizer={"freeze_positions": True})
    assert not any(schedule.positions_move(frozen, i) for i in EVERY)


def test_positions_with_a_rate_of_their_own_fall_at_the_same_divisions() -> None:
    values = RECIPE.model_dump(exclude_none=True)
    del values["optimizer"]["position_learning_rate_factor"]
    values["optimizer"]["position_learning_rate"] = 0.25
    recipe = Recipe.model_validate(values)
    assert [schedule.learning_rate(recipe, i) for i in EVERY] == [schedule.learning_rate(RECIPE, i) for i in EVERY]
    expected = [0.0] * 2 + [0.25] * 2 + [0.025] * 4 + [0.0025] * 2
    assert [schedule.position_learning_rate(recipe, i) for i in EVERY] == expected
    slower = recipe.changed(optimizer={"learning_rate": 0.001})
    assert [schedule.position_learning_rate(slower, i) for i in EVERY] == expected


def test_the_end_is_always_evaluated_and_saved() -> None:
    assert [i for i in range(11) if schedule.evaluates(RECIPE, i)] == [3, 6, 9, 10]
    assert [i for i in EVERY if schedule.saves(RECIPE, i)] == [4, 8, 10]
    seldom = RECIPE.changed(schedule={"evaluate_every": 0})
    assert [i for i in range(11) if schedule.evaluates(seldom, i)] == [10]


def by_torch(schedulers: Callable[[Optimizer], LRScheduler], count: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler, rates = schedulers(optimizer), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def cosine(*changes: str) -> Recipe:
    table = "schedule={name='cosine', iterations=40, warm_up=6, linear_start=10, final_factor=0.05}"
    rates = "optimizer={learning_rate=0.3, position_learning_rate_factor=0.01}"
    return load_recipe("planted", [table, rates, *changes])


def test_a_cosine_with_a_linear_start_is_torchs() -> None:
    recipe = cosine()

    def schedulers(optimizer: Optimizer) -> LRScheduler:
        linear = LinearLR(optimizer, start_factor=1 / 10, total_iters=9)
        return SequentialLR(optimizer, [linear, CosineAnnealingLR(optimizer, T_max=30, eta_min=0.015)], milestones=[10])

    found = [schedule.learning_rate(recipe, i) for i in range(1, 41)]
    assert found == pytest.approx(by_torch(schedulers, 40), rel=1e-9)
    # In PyTorch's closed form there is no rounding to be different in.
    closed = [0.015 + (0.3 - 0.015) * (1 + math.cos(math.pi * k / 30)) / 2 for k in range(30)]
    assert found[10:] == closed
    assert found[9] == found[10] == 0.3


def test_a_cosine_without_a_linear_start_ends_one_step_before_nothing() -> None:
    recipe = cosine("schedule.linear_start=0", "schedule.final_factor=0.0")
    found = [schedule.learning_rate(recipe, i) for i in range(1, 41)]
    assert found == pytest.approx(by_torch(lambda o: CosineAnnealingLR(o, T_max=40), 40), rel=1e-9)
    assert found[0] == 0.3
    assert 0 < found[-1] < 0.001


def test_steps_are_torchs() -> None:
    recipe = load_recipe(
        "planted", ["schedule.divisions=[4, 5, 9]", "optimizer.learning_rate=0.3", "schedule.divide_by=2"]
    )
    found = [schedule.learning_rate(recipe, i) for i in range(1, 13)]
    assert found == pytest.approx(by_torch(lambda o: MultiStepLR(o, [4, 5, 9], gamma=0.5), 12), rel=1e-12)


@pytest.mark.parametrize("own", [False, True])
def test_positions_have_the_same_shape_and_wait_for_the_end_of_the_warm_up(own: bool) -> None:
    change = ["optimizer={learning_rate=0.3, position_learning_rate=0.02}"] if own else []
    recipe, first = cosine(*change), 0.02 if own else 0.003
    for iteration in range(1, 41):
        rate = schedule.position_learning_rate(recipe, iteration)
        shape = schedule.learning_rate(recipe, iteration) / 0.3
        assert rate == pytest.approx(first * shape if iteration > 6 else 0.0, rel=1e-12)


def test_a_checkpoint_is_saved_where_it_is_to_be_kept() -> None:
    recipe = RECIPE.changed(schedule={"keep": [0, 5, 8]})
    assert [i for i in EVERY if schedule.saves(recipe, i)] == [4, 5, 8, 10]
