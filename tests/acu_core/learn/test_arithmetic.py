"""What a precision is in a step: what is 16 bits, what stays float32, and what a device cannot do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from acu_core.data.made_up import made_up_data
from acu_core.errors import UserError
from acu_core.learn import arithmetic, step
from acu_core.learn.arithmetic import Arithmetic, precision_note, refuse_missing_precision
from acu_core.learn.batch import recipe_batch
from acu_core.learn.evaluation import evaluate_network
from acu_core.learn.network import recipe_network
from acu_core.learn.step import TrainingStep
from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
from acu_core.recipe.schema import Recipe

Tiny = Callable[..., Recipe]
CPU = torch.device("cpu")


def network(recipe: Recipe) -> nn.Module:
    torch.manual_seed(0)
    return recipe_network(recipe, 2, 8, pretrained=False)


def step_of(recipe: Recipe, iteration: int) -> TrainingStep:
    """After one step on made-up images."""
    data = made_up_data(2, 17, 8, 16)
    trained = TrainingStep(network(recipe), recipe)
    trained(iteration, *recipe_batch(recipe, data, iteration))
    return trained


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_layers_compute_in_16_bits_and_weights_stay_float32(
    tiny: Tiny, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, torch.dtype] = {}
    losses: list[torch.dtype] = []

    def note(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda module, inputs, output: seen.update({name: output.dtype})

    real = functional.cross_entropy

    def spy(logits: Tensor, labels: Tensor) -> Tensor:
        losses.append(logits.dtype)
        return real(logits, labels)

    monkeypatch.setattr(step.functional, "cross_entropy", spy)
    recipe = tiny(f"machine.precision={precision}")
    model = network(recipe)
    for name, layer in model.named_modules():
        if isinstance(layer, ActiveConv2d | nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note(name))
    trained = TrainingStep(model, recipe)
    data = made_up_data(2, 17, 8, 16)
    trained(9, *recipe_batch(recipe, data, 9))
    assert len(seen) >= 2
    assert set(seen.values()) == {getattr(torch, precision)}
    assert losses == [torch.float32]
    assert {tensor.dtype for tensor in model.state_dict().values()} <= {torch.float32, torch.int64}
    states = trained.optimizer.state_dict()["state"].values()
    assert {value.dtype for state in states for value in state.values() if isinstance(value, Tensor)} == {torch.float32}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_16_bits_train_nearly_as_float32(tiny: Tiny, precision: str) -> None:
    # The positions' step is a unit vector whatever the precision, so only its direction can differ.
    exact, rounded = (step_of(tiny(f"machine.precision={one}"), 9).model for one in ("float32", precision))
    for (name, right), actual in zip(exact.state_dict().items(), rounded.state_dict().values(), strict=True):
        torch.testing.assert_close(actual, right, rtol=0.05, atol=5e-3, msg=lambda text, name=name: f"{name}: {text}")
    (layer,) = active_layers(rounded).values()
    (before,) = active_layers(network(tiny())).values()
    moved = (layer.positions - before.positions).detach().norm(dim=2)[0]
    rate = tiny().optimizer.learning_rate * (tiny().optimizer.position_learning_rate_factor or 0) / 10
    torch.testing.assert_close(moved[[0, 1, 2, 3, 5, 6, 7, 8]], torch.full((8,), rate), rtol=1e-3, atol=1e-6)


def test_float32_is_what_a_step_without_any_of_it_computes(tiny: Tiny) -> None:
    recipe = tiny("optimizer.gradient_clip=0.01")
    trained = step_of(recipe, 9).model
    model = network(recipe)
    plain = TrainingStep(model, recipe)
    plain._average.set(9)
    plain._set_learning_rates(9)
    images, labels = recipe_batch(recipe, made_up_data(2, 17, 8, 16), 9)
    functional.cross_entropy(model(images), labels).backward()
    groups = plain.optimizer.param_groups
    nn.utils.clip_grad_norm_([p for group in groups if group["role"] != "positions" for p in group["params"]], 0.01)
    plain.optimizer.step()
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), trained.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_an_evaluation_is_of_the_float32_network(tiny: Tiny, precision: str) -> None:
    recipe = tiny(f"machine.precision={precision}")
    trained = step_of(recipe, 9)
    data = made_up_data(2, 17, 8, 16)
    found = evaluate_network(trained.model, data, batch_size=16)
    trained.model.eval()
    with torch.no_grad():
        exact = functional.cross_entropy(trained.model(data.test_images), data.test_labels)
    assert found.loss == pytest.approx(float(exact), rel=1e-6)


def test_switches_are_those_of_the_precision_in_a_step_and_in_an_evaluation(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "_has_tf32", lambda device: True)
    recipe = tiny("machine.precision=tf32")
    seen: list[tuple[bool, str, str]] = []
    model = network(recipe)

    def note(*_: object) -> None:
        products = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
        seen.append((model.training, *products))

    model.register_forward_pre_hook(note)
    data = made_up_data(2, 17, 8, 16)
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    TrainingStep(model, recipe)(9, *recipe_batch(recipe, data, 9))
    evaluate_network(model, data, batch_size=16)
    assert seen == [(True, "tf32", "tf32"), (False, "ieee", "ieee")]
    assert (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision) == before


def test_tf32_is_float32_where_there_is_none(tiny: Tiny) -> None:
    recipe = tiny("machine.precision=tf32")
    assert Arithmetic.of(recipe, CPU).precision == "float32"
    note = precision_note(recipe, CPU)
    assert note == "machine.precision = tf32 needs an NVIDIA GPU that has it: on cpu this is trained in float32"
    for precision in ("float32", "bfloat16", "float16"):
        assert precision_note(tiny(f"machine.precision={precision}"), CPU) is None


@pytest.mark.parametrize(("major", "has"), [(7, False), (8, True), (9, True)])
def test_tf32_is_that_of_gpus_since_ampere(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, major: int, has: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    found = Arithmetic.of(tiny("machine.precision=tf32"), torch.device("cuda"))
    assert found.precision == ("tf32" if has else "float32")
    assert found.describe()["products"] == found.describe()["convolutions"] == ("tf32" if has else "ieee")


def test_a_gpu_without_bfloat16_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        def __init__(self, device: torch.device) -> None:
            pass

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "device", Nowhere)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    gpu = torch.device("cuda")
    refuse_missing_precision(tiny("machine.precision=float16"), gpu)
    refuse_missing_precision(tiny("machine.precision=bfloat16"), CPU)
    with pytest.raises(UserError, match="Tesla T4 has no bfloat16: choose float16 or float32"):
        refuse_missing_precision(tiny("machine.precision=bfloat16"), gpu)
