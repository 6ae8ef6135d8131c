from __future__ import annotations

import itertools

import pytest

from acu_core.errors import UserError
from acu_core.recipe.recipe_file import built_in_recipes, load_recipe
from acu_core.recipe.schedules.cosine import CosineSchedule
from acu_core.reproduce.scaling import scaled


def test_everything_is_shortened_alike() -> None:
    recipe = load_recipe("cifar10-plain-acu")
    schedule = scaled(recipe, 0.05).schedule
    assert (schedule.iterations, schedule.warm_up, schedule.divisions) == (3200, 500, [1600, 2400])
    assert (schedule.evaluate_every, schedule.checkpoint_every) == (500, 100)
    finetuning = scaled(recipe, 0.05).round_and_finetune
    assert finetuning is not None
    assert (finetuning.iterations, finetuning.divisions, finetuning.learning_rate) == (1000, [500], 0.01)
    # The recipe of its own says the same.
    rounded = scaled(load_recipe("cifar10-plain-acu-round"), 0.05).schedule
    assert (rounded.iterations, rounded.warm_up, rounded.divisions) == (1000, 0, [500])


@pytest.mark.parametrize(("scale", "fraction"), [(1, 0.001), (0.5, 0.002), (0.05, 0.02), (0.01, 0.02)])
def test_the_time_of_batch_norm_is_shortened_too(scale: float, fraction: float) -> None:
    network = scaled(load_recipe("cifar10-plain-acu"), scale).network
    assert network.batch_norm_fraction == pytest.approx(fraction)
    assert network.options == load_recipe("cifar10-plain-acu").network.options


def test_a_cosine_keeps_its_shape_and_what_is_kept_its_place() -> None:
    table = "schedule={name='cosine', iterations=64000, warm_up=10000, linear_start=2000, final_factor=0.1}"
    recipe = load_recipe("cifar10-plain-acu", [table, "schedule.keep=[0, 32000]", "average={decay=0.999}"])
    trial = scaled(recipe, 0.05)
    schedule = trial.schedule
    assert isinstance(schedule, CosineSchedule)
    assert (schedule.iterations, schedule.warm_up, schedule.linear_start) == (3200, 500, 100)
    assert (schedule.final_factor, schedule.keep) == (0.1, [0, 1600])
    for iteration in (50, 100, 1600, 3200):
        assert schedule.rate(1.0, iteration) == pytest.approx(recipe.schedule.rate(1.0, 20 * iteration), abs=1e-3)
    assert trial.average is not None
    assert trial.average.decay == pytest.approx(0.98)
    shortest = scaled(recipe.changed(schedule={"linear_start": 63_999}), 1e-9).schedule
    assert isinstance(shortest, CosineSchedule)
    assert (shortest.iterations, shortest.linear_start) == (20, 19)


def test_intervals_of_large_scales_are_not_clipped() -> None:
    schedule = scaled(load_recipe("places365-alexnet-acu"), 0.5).schedule
    assert (schedule.evaluate_every, schedule.checkpoint_every) == (5000, 500)


def test_an_interval_that_was_short_stays_and_none_stays_none() -> None:
    recipe = load_recipe("planted", ["schedule.evaluate_every=0", "schedule.checkpoint_every=50"])
    schedule = scaled(recipe, 0.5).schedule
    assert (schedule.evaluate_every, schedule.checkpoint_every) == (0, 50)


@pytest.mark.parametrize("name", [name for name in built_in_recipes() if name != "planted"])
def test_the_shortest_trial_keeps_its_order(name: str) -> None:
    recipe = load_recipe(name)
    schedule = scaled(recipe, 1e-9).schedule
    assert schedule.iterations == 20
    assert bool(schedule.warm_up) == bool(recipe.schedule.warm_up)
    assert len(schedule.divisions) == len(recipe.schedule.divisions)
    moments = [schedule.warm_up, *schedule.divisions, schedule.iterations]
    assert all(earlier < later for earlier, later in itertools.pairwise(moments))


def test_the_whole_schedule_is_the_recipe_itself() -> None:
    recipe = load_recipe("cifar10-plain-acu")
    assert scaled(recipe, 1) is recipe


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_wrong_scales(scale: float) -> None:
    with pytest.raises(UserError, match="above 0 and at most 1"):
        scaled(load_recipe("planted"), scale)
