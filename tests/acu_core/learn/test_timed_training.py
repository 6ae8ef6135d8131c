"""What is timed is what is trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from acu_core.bench.training_bench import measure_training, recipes_to_time
from acu_core.data.made_up import made_up_data
from acu_core.learn import timed_training
from acu_core.learn.step import StepFigures, TrainingStep
from acu_core.learn.timed_training import TimedTraining
from acu_core.learn.workplace import Workplace
from acu_core.nn.active_conv2d import active_layers
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe


class Watched(TrainingStep):
    """A step that notes what it is called with."""

    calls: list[tuple[str, int, Tensor]]

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__(model, recipe)
        self.name = recipe.name

    def __call__(self, iteration: int, images: Tensor, labels: Tensor) -> StepFigures:
        self.calls.append((self.name, iteration, images))
        return super().__call__(iteration, images, labels)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Tensor]]:
    Watched.calls = []
    monkeypatch.setattr(timed_training, "TrainingStep", Watched)
    return Watched.calls


def test_the_shapes_are_off_the_grid_and_move_as_in_training() -> None:
    recipe = load_recipe("planted", ["data.batch_size=8"])
    training = TimedTraining(recipe, Workplace(made_up_data(2, 17, 8, 16), torch.device("cpu"), 1))
    (layer,) = active_layers(training.model).values()
    before = layer.positions.detach().clone()
    moving = [synapse for synapse in range(9) if synapse != 4]
    assert (before[:, moving] != before[:, moving].round()).all()
    training.train()
    lengths = (layer.positions.detach() - before).norm(dim=2)[:, moving]
    rate = recipe.optimizer.learning_rate * recipe.optimizer.position_learning_rate_factor
    torch.testing.assert_close(lengths, torch.full_like(lengths, rate), rtol=1e-3, atol=1e-6)
    training.evaluate()
    assert training.model.training


def test_the_bench_times_training_steps_of_both_recipes(watched: list[tuple[str, int, Tensor]]) -> None:
    timings = measure_training(recipes_to_time(batch=2), rounds=2)
    assert list(timings) == ["cifar10-plain-base", "cifar10-plain-acu", "recording"]
    assert timings.pop("recording").median > 0
    warm_up = load_recipe("cifar10-plain-acu").schedule.warm_up
    for name, timing in timings.items():
        assert timing.rounds == 2
        iterations = [iteration for called, iteration, _ in watched if called == name]
        assert iterations == list(range(warm_up + 1, warm_up + 1 + len(iterations)))
        assert len(iterations) >= 2
    assert all(images.shape == (2, 3, 32, 32) for _, _, images in watched)
    # Each batch has images, a crop and a mirror of its own.
    first, second = (images for name, _, images in watched[:4] if name == "cifar10-plain-acu")
    assert not torch.equal(first, second)
