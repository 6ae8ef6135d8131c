"""What is measured is what is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from acu_core.experiments.frozen_twin import train
from acu_core.forecast.pace import Pace, measure_pace
from acu_core.forecast.stand_in import stand_in_workplace
from acu_core.forecast.step_clock import Patience, StepClock
from acu_core.forecast.work import Work
from acu_core.learn.schedule import positions_move
from acu_core.learn.step import StepFigures, TrainingStep
from acu_core.recipe.schema import Recipe
from acu_core.train import run_training

FEW = Patience(seconds=0, least=2, most=2, skipped=1)


class Watched(TrainingStep):
    """A step that notes whether it moves the positions, where they are, and on how many images it is taken."""

    calls: list[tuple[bool, bool, int]]

    def __init__(self, model: nn.Module, recipe: Recipe, **options: object) -> None:
        super().__init__(model, recipe, **options)  # type: ignore[arg-type]
        self.recipe = recipe

    def __call__(self, iteration: int, images: Tensor, labels: Tensor) -> StepFigures:
        positions = [value for name, value in self.model.named_parameters() if name.endswith("positions")]
        on_grid = all(bool((value == value.round()).all()) for value in positions)
        self.calls.append((positions_move(self.recipe, iteration), on_grid, len(images)))
        return super().__call__(iteration, images, labels)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool, int]]:
    Watched.calls = []
    monkeypatch.setattr(run_training, "TrainingStep", Watched)
    return Watched.calls


def test_both_kinds_of_iterations_are_timed_on_whole_batches(
    tiny: Callable[..., Recipe], steps: list[tuple[bool, bool, int]]
) -> None:
    recipe = tiny()
    place = stand_in_workplace(recipe, whole=False)
    assert place is not None
    measured = measure_pace(recipe, place, patience=FEW)
    assert (measured.still_timed, measured.moving_timed) == (2, 2)
    still, moving = steps[:3], steps[3:]
    assert still == [(False, True, 16)] * 3
    # The first one, which does not count, leaves the grid.
    assert moving == [(True, True, 16), (True, False, 16), (True, False, 16)]


@pytest.mark.parametrize(
    ("override", "timed"),
    [
        ("schedule.warm_up=0", (0, 2)),
        ("schedule.warm_up=50", (2, 0)),
        ("optimizer.freeze_positions=true", (2, 0)),
        ('network.unit="convolution"', (2, 0)),
    ],
)
def test_a_kind_that_the_training_has_none_of_is_not_timed(
    tiny: Callable[..., Recipe], override: str, timed: tuple[int, int]
) -> None:
    recipe = tiny(override)
    place = stand_in_workplace(recipe, whole=False)
    assert place is not None
    measured = measure_pace(recipe, place, patience=FEW)
    assert (measured.still_timed, measured.moving_timed) == timed
    assert (measured.pace.still is None, measured.pace.moving is None) == (timed[0] == 0, timed[1] == 0)


def test_measuring_leaves_nothing_behind(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    before = torch.random.get_rng_state()
    place = stand_in_workplace(tiny(), whole=False)
    assert place is not None
    measure_pace(tiny(), place, patience=FEW)
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_sample_is_what_a_run_has_on_disk(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny()
    place = stand_in_workplace(recipe, whole=False)
    assert place is not None
    sample = measure_pace(recipe, place, patience=FEW).sample
    train(recipe, tmp_path / "run", place=place)
    (layer,) = sample.layers
    assert (layer.groups, layer.synapses) == (1, 9)
    assert [record.iteration for record in sample.records] == [1, 2, 3]
    assert sample.moving_checkpoint is not None
    assert sample.still_checkpoint is not None
    # Only where positions have moved is there a momentum of theirs.
    assert sample.first_checkpoint < sample.still_checkpoint < sample.moving_checkpoint


def test_seconds_are_added_up_and_a_kind_that_was_not_measured_is_not_guessed() -> None:
    pace = Pace(still=1.0, moving=2.0, evaluation=10.0, checkpoint=0.5)
    assert pace.seconds(Work(3, 4, 5, 6)) == 3 + 8 + 50 + 3
    assert Pace(1.0, None, 0.0, 0.0).seconds(Work(still=2)) == 2.0
    with pytest.raises(ValueError, match="not measured"):
        Pace(1.0, None, 0.0, 0.0).seconds(Work(still=2, moving=1))


def test_an_evaluation_is_of_as_many_images_as_there_would_be(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny("data.evaluation_batch_size=50")
    place = stand_in_workplace(recipe, whole=False)
    assert place is not None
    one, many = (measure_pace(recipe, place, patience=FEW, test_images=count) for count in (50, 5_000_000))
    assert many.pace.evaluation > 100 * one.pace.evaluation


def test_averaged_weights_and_held_out_images_are_evaluated_too(
    tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepClock, "seconds", property(lambda clock: 1000.0))

    def evaluation(*overrides: str) -> float:
        recipe = tiny("data.evaluation_batch_size=4", *overrides)
        place = stand_in_workplace(recipe, whole=True)
        assert place is not None
        found = measure_pace(recipe, place, patience=FEW).pace.evaluation
        # What the first three batches really took is added to the others' thousand seconds each.
        return 3 + found // 1000

    # 5,000 test images of the data set that is meant, and 1,000 of 40,000 others.
    assert evaluation() == 1250
    assert evaluation("data.validation_images=1000") == 1500
    assert evaluation("average={decay=0.9}") == 2500
    assert evaluation("data.validation_images=1000", "average={decay=0.9}") == 3000


def test_no_more_is_measured_than_would_be_trained_and_nothing_is_kept_on_the_way(
    tiny: Callable[..., Recipe],
) -> None:
    recipe = tiny("schedule.keep=[1, 2, 12]")
    place = stand_in_workplace(recipe, whole=False)
    assert place is not None
    measured = measure_pace(recipe, place, patience=Patience(seconds=60, least=1, most=1000, skipped=1))
    assert (measured.still_timed, measured.moving_timed) == (3, 9)
    assert measured.compiling == 0


def test_compiling_is_done_in_a_step_that_is_not_timed(
    tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[int] = []

    class Counted(TrainingStep):
        def __call__(self, iteration: int, images: Tensor, labels: Tensor) -> StepFigures:
            figures = super().__call__(iteration, images, labels)
            graphs.append(counters["stats"]["unique_graphs"])
            return figures

    monkeypatch.setattr(run_training, "TrainingStep", Counted)
    recipe = tiny("machine.compile=true")
    place = stand_in_workplace(recipe, whole=False)
    assert place is not None
    torch._dynamo.reset()
    counters.clear()
    measured = measure_pace(recipe, place, patience=FEW)
    assert (measured.still_timed, measured.moving_timed) == (2, 2)
    # The first step compiles, and the second training finds what it has compiled.
    assert graphs == [1] * 6
    assert measured.compiling > 0
