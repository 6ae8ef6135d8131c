from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW
from torch.optim.optimizer import Optimizer

from acu_core.learn.batch_norm import CorrectedAverage
from acu_core.learn.joined_optimizer import JoinedOptimizer
from acu_core.learn.network import recipe_network
from acu_core.learn.optimizer import new_optimizer
from acu_core.learn.step import TrainingStep
from acu_core.nn.optimization import normalized_gradient
from acu_core.recipe.schema import Recipe

Tiny = Callable[..., Recipe]

STEPS = "schedule={iterations=8, warm_up=2, divisions=[5]}"
COSINE = "schedule={name='cosine', iterations=8, warm_up=2, linear_start=3, final_factor=0.1}"
ADAMW = "optimizer={name='adamw', learning_rate=0.01, weight_decay=0.1, betas=[0.8, 0.99], eps=1e-7, %s}"
PIXELS = "position_learning_rate=0.02, position_momentum=0.8"
NESTEROV = "optimizer={learning_rate=0.1, momentum=0.7, nesterov=true, weight_decay=0.01}"


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(3)
    return [(torch.randn(6, 2, 17, 17), torch.randint(0, 8, (6,))) for _ in range(count)]


def network(recipe: Recipe) -> nn.Module:
    torch.manual_seed(1)
    return recipe_network(recipe, 2, 8, pretrained=False)


def parts(model: nn.Module) -> tuple[list[Any], list[Any], list[Any]]:
    """Weights, rest and positions, told apart by their names."""
    named = dict(model.named_parameters())
    positions = [value for name, value in named.items() if name.endswith("positions")]
    others = [value for name, value in named.items() if not name.endswith("positions")]
    return [p for p in others if p.dim() > 1], [p for p in others if p.dim() <= 1], positions


def adamw(model: nn.Module) -> tuple[Optimizer, Optimizer]:
    weights, rest, positions = parts(model)
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return AdamW(groups, lr=0.01, betas=(0.8, 0.99), eps=1e-7), SGD(positions, lr=0.02, momentum=0.8)


def nesterov(model: nn.Module) -> tuple[Optimizer, Optimizer]:
    weights, rest, positions = parts(model)
    groups = [{"params": weights, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    return SGD(groups, lr=0.1, momentum=0.7, nesterov=True), SGD(positions, lr=0.001, momentum=0.7)


@pytest.mark.parametrize(
    ("optimizer", "by_hand"), [(ADAMW % PIXELS, adamw), (NESTEROV, nesterov)], ids=["adamw", "nesterov"]
)
@pytest.mark.parametrize("schedule", [STEPS, COSINE], ids=["steps", "cosine"])
def test_every_step_is_that_of_torchs_own_optimizers_and_schedulers(
    tiny: Tiny, schedule: str, optimizer: str, by_hand: Callable[[nn.Module], tuple[Optimizer, Optimizer]]
) -> None:
    recipe = tiny("schedule.keep=[]", optimizer, schedule)
    ours, theirs = network(recipe), network(recipe)
    step = TrainingStep(ours, recipe)
    average = CorrectedAverage(theirs, recipe.network.batch_norm_fraction)
    both = by_hand(theirs)
    _, _, positions = parts(theirs)
    # That the rates are those of torch's schedulers, test_schedule shows.
    for iteration, (images, labels) in enumerate(batches(8), start=1):
        step(iteration, images, labels)
        average.set(iteration)
        functional.cross_entropy(theirs.train()(images), labels).backward()
        for part in both:
            for group in part.param_groups:
                group["lr"] = recipe.schedule.rate(group.setdefault("first", group["lr"]), iteration)
        for position in positions:
            position.grad = normalized_gradient(position.grad) if iteration > 2 else None
        for part in both:
            part.step()
            part.zero_grad()
        state = theirs.state_dict()
        for name, value in ours.state_dict().items():
            assert torch.equal(value, state[name]), f"{name} in iteration {iteration}"
    moved = step.model.state_dict()["unit.positions"] - network(recipe).state_dict()["unit.positions"]
    assert 0 < moved.abs().max() < 1


def test_the_positions_of_adamw_keep_the_papers_step_and_weights_alone_decay(tiny: Tiny) -> None:
    recipe = tiny(ADAMW % PIXELS)
    optimizer = new_optimizer(network(recipe), recipe)
    assert isinstance(optimizer, JoinedOptimizer)
    found = {group["role"]: group for group in optimizer.param_groups}
    assert [group["role"] for group in optimizer.param_groups] == ["weights", "rest", "positions"]
    assert [found[role]["weight_decay"] for role in ("weights", "rest", "positions")] == [0.1, 0.0, 0.0]
    assert (found["positions"]["lr"], found["positions"]["momentum"]) == (0.02, 0.8)
    assert "betas" not in found["positions"]
    assert (found["rest"]["betas"], found["rest"]["eps"]) == ((0.8, 0.99), 1e-7)
    convolution = recipe.changed(network={"unit": "convolution"}, optimizer={"position_learning_rate": None})
    assert type(new_optimizer(network(convolution), convolution)) is AdamW


def test_the_first_step_of_every_synapse_is_as_long_as_its_rate(tiny: Tiny) -> None:
    for optimizer in (ADAMW % PIXELS, "optimizer={learning_rate=2.0, nesterov=true}"):
        recipe = tiny("schedule={iterations=3}", optimizer)
        model = network(recipe)
        before = model.state_dict()["unit.positions"].clone()
        TrainingStep(model, recipe)(1, *batches(1)[0])
        moved = torch.linalg.vector_norm(model.state_dict()["unit.positions"] - before, dim=-1)
        learned = torch.arange(9) != 4
        torch.testing.assert_close(moved[0, learned], torch.full((8,), 0.02), rtol=1e-4, atol=0)


def joined(seed: int) -> tuple[list[nn.Parameter], JoinedOptimizer]:
    torch.manual_seed(seed)
    first, second = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(4))
    return [first, second], JoinedOptimizer(AdamW([first], lr=0.1), SGD([second], lr=0.2, momentum=0.9))


def train(parameters: list[nn.Parameter], optimizer: JoinedOptimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        sum((parameter.square().sum() for parameter in parameters), start=torch.zeros(())).backward()
        optimizer.step()


def test_two_optimizers_have_one_state_dict_and_go_on_from_it() -> None:
    whole, halves = joined(0), joined(0)
    train(*whole, steps=6)
    train(*halves, steps=3)
    state = copy.deepcopy(halves[1].state_dict())
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert [sorted(state["state"][number]) for number in (0, 1)] == [
        ["exp_avg", "exp_avg_sq", "step"],
        ["momentum_buffer"],
    ]
    parameters, optimizer = joined(5)
    for parameter, value in zip(parameters, halves[0], strict=True):
        parameter.data.copy_(value)
    optimizer.load_state_dict(state)
    optimizer.param_groups[1]["lr"] = 0.2
    train(parameters, optimizer, steps=3)
    for parameter, expected in zip(parameters, whole[0], strict=True):
        assert torch.equal(parameter, expected)
    assert torch.equal(
        optimizer.state_dict()["state"][1]["momentum_buffer"], whole[1].state_dict()["state"][1]["momentum_buffer"]
    )


def test_two_optimizers_call_a_closure_once_and_run_hooks_before_both() -> None:
    parameters, optimizer = joined(0)
    calls: list[str] = []

    def closure() -> float:
        calls.append("closure")
        optimizer.zero_grad()
        loss = sum((parameter.square().sum() for parameter in parameters), start=torch.zeros(()))
        loss.backward()
        return float(loss.detach())

    optimizer.register_step_pre_hook(lambda *_: calls.append("hook"))
    before = [parameter.detach().clone() for parameter in parameters]
    assert optimizer.step(closure) == pytest.approx(sum(float(value.square().sum()) for value in before))
    assert calls == ["hook", "closure"]
    assert all(not torch.equal(parameter, value) for parameter, value in zip(parameters, before, strict=True))
