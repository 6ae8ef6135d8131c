from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from acu_core.errors import UserError
from acu_core.nn.active_conv2d import ActiveConv2d
from acu_core.nn.gradient_bound import GradientBound
from acu_core.nn.receptive_field import receptive_field
from acu_core.op.reference import active_conv2d_reference

Step = Callable[[Tensor], Tensor]


class Network(nn.Module):
    """A step between two convolutions."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.step = step

    def last(self, images: Tensor) -> Tensor:
        result: Tensor = self.second(self.step(self.first(images)))
        return result

    def forward(self, images: Tensor) -> Tensor:
        return self.last(images).mean((2, 3))


def assert_bounded(model: Any, shape: tuple[int, int, int] = (2, 8, 8)) -> None:
    """No derivative by any pixel, of any of many images, exceeds its bound."""
    bound, (height, width) = GradientBound(model, shape).gradient()
    model.double().eval()
    draw = torch.Generator().manual_seed(3)
    seen = False
    for size in (0.01, 0.1, 1.0, 10.0, 100.0) * 6:
        images = (size * torch.randn(1, *shape, generator=draw, dtype=torch.float64)).requires_grad_()
        unit = model.last(images)[0, :, height // 2, width // 2].sum()
        (gradient,) = torch.autograd.grad(unit, images)
        seen = seen or bool(gradient.any())
        # Both in float64: what is left is its rounding.
        assert bool((gradient[0].abs() <= bound * (1 + 1e-9) + 1e-12).all())
    assert seen


def script(step: Step) -> Step:
    with pytest.warns(FutureWarning, match=r"torch\.jit\.script"):
        scripted: Step = torch.jit.script(step)  # type: ignore[no-untyped-call]
    return scripted


def scripted_square(x: Tensor) -> Tensor:
    return x * -3.0 + x * x


def scripted_values(x: Tensor) -> Tensor:
    return x.detach()


def written_without_gradient(x: Tensor) -> Tensor:
    made = torch.zeros(x.shape, dtype=x.dtype)
    with torch.no_grad():
        made[...] = x
    return x * made


def written_behind_an_alias(x: Tensor) -> Tensor:
    made = torch.zeros(x.shape, dtype=x.dtype)
    alias = made.detach()
    made[...] = x
    return x * alias


def written_into_a_cast(x: Tensor) -> Tensor:
    x = x + 1
    x.contiguous().mul_(-3)
    return x


def written_into_a_view(x: Tensor) -> Tensor:
    x = x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
    x.view(-1).mul_(3)
    return x.permute(0, 3, 1, 2)


def written_behind_numpy(x: Tensor) -> Tensor:
    made = torch.zeros(x.shape, dtype=x.dtype)
    array = made.numpy()
    made[...] = x
    return x * torch.from_numpy(array.copy())


def in_another_thread(x: Tensor) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: x * -3 + x).result()


@pytest.mark.filterwarnings("ignore:To copy construct", "ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (lambda x: torch.vmap(lambda row: row * -3)(x) + x, "calls mul in torch.vmap or torch.func"),
        (lambda x: x * torch.vmap(lambda row: row.detach())(x), "calls detach in torch.vmap or torch.func"),
        (lambda x: torch.func.vjp(torch.sin, x)[0], "calls .* in torch.vmap or torch.func"),
        (lambda x: x * x.new_tensor(x.tolist()), "calls tolist"),
        (lambda x: x * x.new_tensor(x), "calls new_tensor with parameters that depend on the image"),
        (lambda x: x * float(x[0, 0, 0, 0]), "calls float, for which no bound is known"),
        (written_without_gradient, "takes what setitem returns out of the gradient"),
        (written_behind_an_alias, "calls mul on what shares its memory with a map, out of the gradient"),
        (written_into_a_cast, "changes by mul, in place, what something else may share"),
        (written_into_a_view, "changes by mul, in place, what something else may share"),
        (written_behind_numpy, "changes by setitem, in place, what something else may share"),
        (in_another_thread, "calls .*Backward0 where it cannot be seen here"),
        (lambda x: functional.celu(x, -0.3), "calls celu with a negative alpha, whose slope has no bound"),
        (lambda x: torch._C._nn.elu(x, 1, 3, 2), "calls elu with scales"),
        (lambda x: torch._C._nn.elu(x, 1, 3.0), "calls elu with scales"),
        (lambda x: torch._C._nn.elu(x, 1, input_scale=2), "calls elu with scales"),
        (lambda x: x.relu().to(torch.int64) + x, "casts to torch.int64, which has no gradient"),
        (lambda x: x[x.to(torch.bool)].view_as(x), "casts to torch.bool, which has no gradient"),
        (lambda x: x.view(torch.int32) + x, "views the numbers of a map as those of another dtype"),
        (lambda x: (x * -1j).imag.relu() + x, "calls a product with complex numbers"),
        (lambda x: (x * torch.tensor(-1j)).imag.relu() + x, "calls a product with complex numbers"),
        (lambda x: torch.cond(torch.tensor(True), lambda y: y * -3, lambda y: y + 0, (x,)), "calls cond, for which"),
        (lambda x: x.register_hook(lambda gradient: 5 * gradient) and x, "calls register_hook, for which"),
        (lambda x: torch.utils.dlpack.from_dlpack(x.detach()) * x, "calls detach, for which"),
        (lambda x: x.view(size=x.shape), "calls view with arguments that are not known here"),
    ],
)
def test_what_has_no_bound_or_cannot_be_seen_is_refused(step: Step, sentence: str) -> None:
    with pytest.raises(UserError, match=f"can be computed: Network {sentence}") as caught:
        GradientBound(Network(step), (2, 8, 8)).gradient()
    assert "\n" not in str(caught.value)


def test_a_network_that_draws_random_numbers_is_refused() -> None:
    with pytest.raises(UserError, match="it draws random numbers in evaluation mode too, so its gradient is random"):
        GradientBound(Network(lambda x: x * (torch.rand(x.shape, dtype=x.dtype) > 0.5)), (2, 8, 8)).gradient()


def test_what_is_hidden_without_torchscript_is_refused() -> None:
    def step(x: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return x * -3

    with pytest.raises(UserError, match=r"calls aten\.mul\.Tensor where it cannot be seen here .*an extension"):
        GradientBound(Network(lambda x: step(x) + x), (2, 8, 8)).gradient()


@pytest.mark.parametrize("calls_before", [0, 4])
@pytest.mark.parametrize(("function", "step"), [(scripted_square, torch.add), (scripted_values, torch.mul)])
def test_a_function_in_torchscript_is_refused(
    function: Step, step: Callable[[Tensor, Tensor], Tensor], calls_before: int
) -> None:
    scripted = script(function)
    for _ in range(calls_before):
        # TorchScript makes other graphs of a function that it knows.
        scripted(torch.zeros(2, requires_grad=True))
    sentence = re.escape("calls aten.") + r"[\w.]+ where it cannot be seen here \(in TorchScript"
    with pytest.raises(UserError, match=sentence):
        GradientBound(Network(lambda x: step(x, scripted(x))), (2, 8, 8)).gradient()


def test_what_is_called_after_the_last_map_may_be_hidden() -> None:
    scripted = script(scripted_square)
    model = Network(torch.relu)
    expected = receptive_field(model, (2, 8, 8)).map
    assert receptive_field(nn.Sequential(model, nn.Identity()), (2, 8, 8)).map.equal(expected)

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            return torch.vmap(lambda row: row * 2)(scripted(self.model(images)))

    assert receptive_field(Head(), (2, 8, 8)).map.equal(expected)


def shrunk_afterwards(function: Step) -> Step:
    """A function whose result is made smaller in place, which what it was given does not notice."""

    def step(x: Tensor) -> Tensor:
        x = x + 1
        function(x).mul_(0.01)
        return x

    return step


def views_of_what_changes(x: Tensor) -> Tensor:
    made = torch.zeros(x.shape, dtype=x.dtype)
    before = made[:, 1:]
    made[...] = x
    made[:, :2] -= 3 * x[:, 2:]
    made += 1
    return torch.cat([made[:, :1], before.transpose(2, 3).transpose(2, 3)], 1)


@pytest.mark.parametrize(
    "step",
    [
        lambda x: functional.avg_pool2d(x, 2, divisor_override=-1),
        lambda x: functional.avg_pool2d(x, 2, 2, 0, False, True, -3) + functional.avg_pool2d(x.relu(), 2),
        lambda x: functional.celu(x, 0.3),
        lambda x: functional.elu(x + 1, 3.0, True),
        lambda x: functional.gelu(input=x) + functional.leaky_relu(input=x, negative_slope=-3),
        lambda x: torch.relu(input=x) - functional.dropout(input=x, training=False),
        lambda x: torch.add(input=x, other=x.relu(), alpha=-2) + torch.div(input=x, other=-0.25),
        lambda x: functional.max_pool2d(input=x, kernel_size=3, stride=1, padding=1),
        lambda x: x.clone().mul_(np.float32(-3)).relu() + x,  # type: ignore[arg-type]
        lambda x: x * x.new_tensor([-3.0]) + x,
        shrunk_afterwards(functional.relu),
        shrunk_afterwards(torch.neg),
        views_of_what_changes,
    ],
)
def test_the_bound_holds(step: Step) -> None:
    torch.manual_seed(0)
    assert_bounded(Network(step))


@pytest.mark.parametrize(
    "step",
    [
        lambda x: torch.where(x > 0, x, -3 * x),
        lambda x: torch.where(torch.ones(8, 8) > 0, x, -x),
        lambda x: x.masked_fill(x < 0, 0),
        lambda x: x[:, x.sum((0, 2, 3)).argsort()],
        lambda x: x.index_select(1, x.detach().sum((0, 2, 3)).argsort()),
        lambda x: x.gather(2, x.argsort(2)),
        lambda x: x.sort(1)[0],
        lambda x: x.topk(4, 1)[0],
        lambda x: x * x.amax((2, 3), keepdim=True),
        lambda x: x.cumsum(2) - 3 * x,
        lambda x: torch.view_as_real(torch.fft.fft2(x))[..., 0],
        lambda x: torch.einsum("nchw,ndhw->nchw", x, x),
        lambda x: x @ x.transpose(2, 3),
        lambda x: torch.bmm(x[0], x[0]).unsqueeze(0),
        lambda x: x / (2 + x.abs()),
        lambda x: x / x.norm(),
        lambda x: x - x.mean((2, 3), keepdim=True),
        lambda x: torch.maximum(x, -2 * x),
        lambda x: x.unfold(2, 1, 1).amax(-1),
        lambda x: torch.lerp(x, x.flip(2), -3.0),
        lambda x: torch.addcmul(x, x, torch.tensor(-2.0, dtype=x.dtype)),
        lambda x: checkpoint(lambda y: y * -2, x, use_reentrant=True),
        lambda x: x.sin() + x.clamp(x.mean()),
        lambda x: torch.stack([row * -1 for row in x.unbind(1)], 1) + x.flip(1),
        lambda x: x.roll(1, 2) * torch.linspace(-3, 3, 8, dtype=x.dtype) - x,
        lambda x: functional.fold(functional.unfold(x, 3, padding=1), (8, 8), 3, padding=1) - x,
    ],
)
def test_whatever_a_network_does_is_bounded_or_refused(step: Step) -> None:
    torch.manual_seed(0)
    model = Network(step)
    refusal = "no receptive field of this network can be computed: Network "
    try:
        GradientBound(model, (2, 8, 8)).gradient()
    except UserError as error:
        refused = str(error)
    else:
        refused = None
        assert_bounded(model)
    assert refused is None or (refused.startswith(refusal) and "\n" not in refused)


def test_layers_may_share_their_positions() -> None:
    torch.manual_seed(0)
    first, second = ActiveConv2d(2, 2, 3, padding=1), ActiveConv2d(2, 2, 3, padding=1)
    second.positions = first.positions
    model = nn.Sequential(first, second, nn.AdaptiveAvgPool2d(1))
    positions, others = torch.randn(2, 1, 9, 2)
    expected = receptive_field(model, (2, 9, 9), positions={"0": positions}).map
    assert receptive_field(model, (2, 9, 9), positions={"1": positions}).map.equal(expected)
    assert receptive_field(model, (2, 9, 9), positions={"0": positions, "1": positions}).map.equal(expected)
    assert not receptive_field(model, (2, 9, 9)).map.equal(expected)
    with pytest.raises(UserError, match="the positions of 1 are shared with another layer, for which others are given"):
        receptive_field(model, (2, 9, 9), positions={"0": positions, "1": others})


@pytest.mark.parametrize("shared", [False, True])
def test_no_weights_of_an_active_layer_cancel_wherever_they_come_from(shared: bool) -> None:
    layer = ActiveConv2d(1, 1, (1, 3), bias=False, padding=(0, 1))
    layer.operator = active_conv2d_reference
    weight = torch.tensor([[[[1.0, 2, -1]]]])
    with torch.no_grad():
        layer.weight.copy_(weight.view_as(layer.weight))
        layer.positions.copy_(torch.tensor([[[0.0, 1], [0, 0], [0, 1]]]))
    before: nn.Module = nn.Identity()
    if shared:
        before = nn.Module()
        before.weight = layer.weight
        before.forward = lambda images: images  # type: ignore[method-assign]
    else:
        torch.nn.utils.parametrizations.weight_norm(layer)
    field = receptive_field(nn.Sequential(before, layer, nn.AdaptiveAvgPool2d(1)), (1, 3, 5))
    torch.testing.assert_close(field.map[1, 2:4] * field.total, torch.tensor([2.0, 2.0], dtype=torch.float64))
    assert layer.operator is active_conv2d_reference
    assert "operator" not in vars(ActiveConv2d(1, 1, 1))


def test_a_network_that_writes_into_its_buffers_stays_as_it_is() -> None:
    model = Network(torch.relu).double()
    model.register_buffer("seen", torch.zeros(1, 4, 8, 8, dtype=torch.float64))

    def step(x: Tensor) -> Tensor:
        model.seen[...] = x
        return model.seen * 2

    model.step = step
    bound = GradientBound(model, (2, 8, 8))
    first, again = (bound.gradient()[0] for _ in range(2))
    assert first.equal(again)
    assert not model.seen.any()
    assert not model.seen.requires_grad
