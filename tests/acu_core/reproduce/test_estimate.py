from __future__ import annotations

from typing import Any

import pytest

from acu_core.forecast.pace import Measured, Pace, Sample
from acu_core.forecast.work import Work, work_of
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.reproduce import estimate
from acu_core.reproduce.estimate import FEW_IMAGES, LONG_STEP, QUICK, measure_quickly


def test_a_measured_pace() -> None:
    recipe = load_recipe("cifar10-plain-acu", ["data.batch_size=2", "machine.device=cpu"])
    pace = measure_quickly(recipe, work_of(recipe))
    assert pace is not None
    assert pace.still is not None
    assert pace.moving is not None
    # 10,000 images forward cost more than two forward and backward.
    assert pace.evaluation > pace.moving


def test_no_pace_where_the_sizes_are_unknown() -> None:
    recipe = load_recipe("planted", ["data.name=imagefolder", "machine.device=cpu"])
    assert measure_quickly(recipe, work_of(recipe)) is None


@pytest.mark.parametrize("long", [False, True])
def test_a_batch_that_takes_long_is_measured_by_few_of_its_images(monkeypatch: pytest.MonkeyPatch, long: bool) -> None:
    asked: list[tuple[int, int, Any]] = []
    recipe = load_recipe("cifar10-plain-acu", ["machine.device=cpu"])
    batch, few_seconds = recipe.data.batch_size, LONG_STEP * FEW_IMAGES / recipe.data.batch_size
    seconds = few_seconds * (2 if long else 0.5)

    def measured(recipe: Recipe, place: Any, *, patience: Any, work: Work, test_images: int) -> Measured:
        asked.append((recipe.data.batch_size, recipe.data.evaluation_batch_size, patience))
        assert (work, test_images) == (work_of(recipe), 10_000)
        pace = Pace(seconds / 2, seconds, 10.0, 0.5)
        return Measured(pace, 1, 1, Sample((), 1, 1, 1, (), 1))

    monkeypatch.setattr(estimate, "measure_pace", measured)
    pace = measure_quickly(recipe, work_of(recipe))
    assert asked[0] == (FEW_IMAGES, FEW_IMAGES, estimate.GLANCE)
    if long:
        times = batch / FEW_IMAGES
        assert len(asked) == 1
        assert pace == Pace(times * seconds / 2, times * seconds, 10.0, 0.5)
    else:
        assert asked[1:] == [(batch, recipe.data.evaluation_batch_size, QUICK)]
        assert pace == Pace(seconds / 2, seconds, 10.0, 0.5)
