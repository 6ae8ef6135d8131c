"""Float16's loss scaling in a step: what it does to gradients that overflow, and what a step left out changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acu_core.data.made_up import made_up_data
from acu_core.learn import step
from acu_core.learn.batch import recipe_batch
from acu_core.learn.loss_scaling import SMALLEST, LossScaling
from acu_core.learn.network import recipe_network
from acu_core.learn.step import StepFigures, TrainingStep
from acu_core.nn.active_conv2d import active_layers
from acu_core.recipe.schema import Recipe

Tiny = Callable[..., Recipe]
BATCH = made_up_data(2, 17, 8, 16)


def begun(recipe: Recipe, iterations: int = 4) -> TrainingStep:
    """After the first iterations; the positions move from the fourth on."""
    torch.manual_seed(0)
    trained = TrainingStep(recipe_network(recipe, 2, 8, pretrained=False), recipe)
    for iteration in range(1, iterations + 1):
        take(trained, recipe, iteration)
    return trained


def take(trained: TrainingStep, recipe: Recipe, iteration: int) -> StepFigures:
    return trained(iteration, *recipe_batch(recipe, BATCH, iteration))


def weights(trained: TrainingStep) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trained.model.named_parameters()}


def momentum(trained: TrainingStep) -> list[Tensor]:
    states = trained.optimizer.state_dict()["state"]
    return [states[number]["momentum_buffer"].clone() for number in sorted(states)]


def scale(trained: TrainingStep) -> float:
    state = trained.loss_scaling.state_dict()
    assert state is not None
    return float(state["scale"])


@pytest.fixture
def overflowing(monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainingStep, str], None]:
    """Makes one gradient of the next steps infinite, in one of the groups."""

    def arrange(trained: TrainingStep, role: str) -> None:
        (group,) = (group for group in trained.optimizer.param_groups if group["role"] == role)
        parameter: nn.Parameter = group["params"][0]
        parameter.register_hook(lambda gradient: torch.full_like(gradient, math.inf))

    return arrange


@pytest.mark.parametrize("role", ["weights", "rest", "positions"])
def test_a_step_whose_gradients_overflow_is_left_out(
    tiny: Tiny, overflowing: Callable[[TrainingStep, str], None], role: str
) -> None:
    recipe = tiny("machine.precision=float16", "optimizer.gradient_clip=1.0")
    trained = begun(recipe)
    before, built_up, scaled = weights(trained), momentum(trained), scale(trained)
    statistics = trained.model.state_dict()
    averages = {name: value.clone() for name, value in statistics.items() if name.endswith("running_mean")}
    overflowing(trained, role)
    figures = take(trained, recipe, 5)
    assert all(torch.equal(value, before[name]) for name, value in weights(trained).items())
    assert all(torch.equal(one, other) for one, other in zip(momentum(trained), built_up, strict=True))
    assert scale(trained) == scaled / 2
    # What is recorded is the batch's loss all the same, unscaled; and the forward pass has averaged its statistics.
    assert 0 < float(figures.loss) < 10
    assert all(not torch.equal(value, averages[name]) for name, value in statistics.items() if name in averages)
    assert all(parameter.grad is None for parameter in trained.model.parameters())


def test_a_gradient_that_is_not_used_in_the_warm_up_leaves_no_step_out(
    tiny: Tiny, overflowing: Callable[[TrainingStep, str], None]
) -> None:
    recipe = tiny("machine.precision=float16")
    trained = begun(recipe, 1)
    before, scaled = weights(trained), scale(trained)
    overflowing(trained, "positions")
    take(trained, recipe, 2)
    assert scale(trained) == scaled
    moved = {name for name, value in weights(trained).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if not name.endswith("positions")}


def test_clipping_is_of_unscaled_gradients_and_positions_move_by_their_rate(tiny: Tiny) -> None:
    changes = "optimizer.gradient_clip=0.001", "optimizer.weight_decay=0.0", "optimizer.momentum=0.0"
    recipe = tiny("machine.precision=float16", *changes)
    trained = begun(recipe, 3)
    before = weights(trained)
    take(trained, recipe, 4)
    moved = {name: value - before[name] for name, value in weights(trained).items()}
    positions = {id(layer.positions) for layer in active_layers(trained.model).values()}
    names = {name for name, parameter in trained.model.named_parameters() if id(parameter) in positions}
    rate = recipe.optimizer.learning_rate
    together = torch.cat([value.flatten() for name, value in moved.items() if name not in names]).norm()
    assert float(together) == pytest.approx(rate * 0.001, rel=0.01)
    (name,) = names
    lengths = moved[name].norm(dim=2)[0, [0, 1, 2, 3, 5, 6, 7, 8]]
    factor = recipe.optimizer.position_learning_rate_factor or 0.0
    torch.testing.assert_close(lengths, torch.full((8,), rate * factor), rtol=1e-3, atol=1e-6)


def test_the_scale_is_no_part_of_a_step(tiny: Tiny) -> None:
    # A power of two cancels exactly, unless a float16 gradient overflows or vanishes.
    recipe = tiny("machine.precision=float16")
    results = []
    for factor in (1.0, 0.25):
        trained = begun(recipe, 0)
        state = trained.loss_scaling.state_dict()
        assert state is not None
        trained.loss_scaling.load_state_dict({**state, "scale": 1024.0 * factor})
        for iteration in range(1, 6):
            take(trained, recipe, iteration)
        results.append(weights(trained))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-3, atol=1e-4)


def test_a_scale_that_falls_without_end_is_exhausted(
    tiny: Tiny, overflowing: Callable[[TrainingStep, str], None]
) -> None:
    recipe = tiny("machine.precision=float16")
    trained = begun(recipe, 1)
    overflowing(trained, "weights")
    iteration = 1
    while not trained.loss_scaling.exhausted:
        iteration += 1
        take(trained, recipe, iteration)
        assert iteration < 100
    assert SMALLEST / 2 <= scale(trained) < SMALLEST


def test_it_goes_on_with_the_scale_of_a_state() -> None:
    scaling = LossScaling("cpu", enabled=True)
    state = {**(scaling.state_dict() or {}), "scale": 8.0, "_growth_tracker": 1999}
    scaling.load_state_dict(state)
    assert scaling.state_dict() == state
    parameter = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    scaling.backward(parameter * 3.0)
    assert parameter.grad is not None
    assert float(parameter.grad) == 24.0
    scaling.unscale(optimizer)
    assert float(parameter.grad) == 3.0
    scaling.step(optimizer)
    assert scale_of(scaling) == 16.0


def scale_of(scaling: LossScaling) -> float:
    return float((scaling.state_dict() or {})["scale"])


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0.0},
        {"scale": math.inf},
        {"scale": math.nan},
        {"scale": "1"},
        {"_growth_tracker": -1},
        {"growth_interval": 2.5},
        {"growth_factor": -2.0},
        {"more": 1},
    ],
)
def test_a_state_of_no_use_is_refused(change: dict[str, Any]) -> None:
    scaling = LossScaling("cpu", enabled=True)
    before = scaling.state_dict()
    assert before is not None
    with pytest.raises(ValueError, match="its loss scale"):
        scaling.load_state_dict({**before, **change})
    assert scaling.state_dict() == before


def test_who_has_no_scale_takes_none_and_who_has_one_needs_one() -> None:
    scaling, plain = LossScaling("cpu", enabled=True), LossScaling("cpu", enabled=False)
    plain.load_state_dict(None)
    assert plain.state_dict() is None
    assert not plain.exhausted
    with pytest.raises(ValueError, match="has no loss scale, which float16 needs"):
        scaling.load_state_dict(None)
    with pytest.raises(ValueError, match="has a loss scale, which only float16 needs"):
        plain.load_state_dict(scaling.state_dict())


def test_switched_off_it_is_the_plain_step() -> None:
    assert step.LossScaling is LossScaling
    parameter = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    plain = LossScaling("cpu", enabled=False)
    plain.backward(parameter * math.inf)
    plain.unscale(optimizer)
    plain.step(optimizer)
    assert float(parameter.detach()) == -math.inf, "a plain step is taken whatever the gradient is"
