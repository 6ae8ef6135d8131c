from __future__ import annotations

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
