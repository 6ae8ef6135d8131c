"""The receptive field bounds the gradient of every image, and what has no bound is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from field_networks import Forward, assert_bounded, disturbed, pooled
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from acu_core.errors import UserError
from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
from acu_core.nn.conversion import to_conv2d
from acu_core.nn.networks import build_network
from acu_core.nn.receptive_field import receptive_field
from acu_core.op.reference import active_conv2d_reference


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("plain", {}, (3, 16, 16)),
        ("plain", {"last_kernel": 5}, (2, 13, 13)),
        ("residual", {"blocks": 1}, (3, 16, 16)),
        ("resnet26", {}, (3, 32, 32)),
    ],
)
def test_the_gradient_of_no_image_exceeds_the_bound(
    name: str, options: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    model = disturbed(build_network(name, in_channels=shape[0], classes=5, **options), seed=1)
    if name == "resnet26":
        model.block1_1.body.conv2.operator = active_conv2d_reference  # type: ignore[union-attr]
    assert_bounded(model, model.pool, shape, images=3)  # type: ignore[arg-type]
    # The same function as plain convolutions: weights that share a pixel may cancel there, so it is no looser.
    plain = to_conv2d(model)
    assert_bounded(plain, plain.pool, shape, images=2)  # type: ignore[arg-type]
    inner, outer = receptive_field(plain, shape), receptive_field(model, shape)
    assert bool((inner.map * inner.total <= outer.map * outer.total * (1 + 1e-6)).all())


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_the_bound_holds_for_networks_of_torchvision(name: str) -> None:
    torch.manual_seed(0)
    model = build_network(f"torchvision:{name}", in_channels=3, classes=5)
    assert len(active_layers(model)) > 15
    for layer in active_layers(model).values():
        with torch.no_grad():
            layer.positions.add_(torch.randn(layer.positions.shape))
    assert_bounded(model.double().eval(), model.avgpool, (3, 64, 64), images=2)  # type: ignore[arg-type]


class Mixture(nn.Module):
    """Branches, groups, sums, differences, constants, functions in place, and every kind of pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 8, 3, padding=1, groups=2, padding_mode="reflect")
        self.active = ActiveConv2d(8, 8, 3, padding=1, groups=4, position_groups=2)
        self.norm = nn.BatchNorm2d(16)
        self.scale = nn.Parameter(torch.randn(16, 1, 1))
        self.prelu = nn.PReLU(16)
        self.up = nn.ConvTranspose2d(16, 6, 2, stride=2)
        self.drop = nn.Dropout2d(0.5)
        self.last = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        images -= 0.25
        images = functional.relu(self.conv1(images), inplace=True)
        side = functional.avg_pool2d(images, 3, 1, 1) - 2 * images
        both = torch.cat([self.active(images).clamp(-1, 2), torch.rsub(side, 1)], dim=1)
        both = self.prelu(self.scale * self.norm(both) / -3)
        functional.leaky_relu(both, 1.5, True)
        both = functional.max_pool2d(both, 3, 2, 1)
        both = both.view(len(both), 2, 8, *both.shape[2:]).transpose(1, 2).flatten(1, 2)
        both = torch.stack(both.chunk(2, dim=1), 1).sum(1).repeat(1, 2, 1, 1)
        both = self.drop(self.up(functional.gelu(both)))
        both += -functional.silu(both[:, [5, 4, 3, 2, 1, 0]]).sigmoid().float().to(both.dtype)
        made = torch.zeros_like(both)
        made[:, 1:] = functional.elu(both[:, :-1], alpha=2)
        return functional.adaptive_max_pool2d(self.last(both.sub(made, alpha=3)), 1)


def test_the_bound_holds_for_everything_that_a_network_may_call() -> None:
    torch.manual_seed(0)
    model = disturbed(Mixture(), seed=2)
    assert_bounded(model, model.last, (4, 12, 12))


@pytest.mark.parametrize(
    ("function", "factor"),
    [
        (lambda x: x + 2 * x, 3),
        (lambda x: x - 2 * x, 3),
        (lambda x: 2 - x, 1),
        (lambda x: torch.add(x, x, alpha=-2), 3),
        (lambda x: torch.sub(x, x, alpha=-2), 3),
        (lambda x: torch.sub(x, torch.ones(2, 1, 1, 1), alpha=5), 1),
        (lambda x: torch.rsub(x, 4, alpha=-3), 3),
        (lambda x: torch.rsub(x, x, alpha=3), 4),
        (lambda x: x.clone().sub_(x, alpha=-4), 5),
        (lambda x: x.clone().add_(x, alpha=-4), 5),
        (lambda x: torch.zeros(1, 1, 3, 3) - 3 * x, 3),
        (lambda x: -x / -4, 0.25),
        (lambda x: x.clone().mul_(-3), 3),
        (lambda x: x.clone().div_(torch.tensor(-2.0)), 0.5),
        (lambda x: torch.ones(1, 3, 3) * -2 @ x, 6),
        (lambda x: functional.linear(x, -torch.ones(3, 3)), 3),
        (lambda x: torch.stack([x, -x]).sum(0), 2),
        (lambda x: functional.pad(x, (1, 1, 1, 1), mode="circular")[..., 1:-1, 1:-1], 1),
        (lambda x: functional.interpolate(x, scale_factor=2)[..., ::2, ::2], 1),
        (lambda x: functional.prelu(x, torch.tensor([-7.0])), 7),
        (lambda x: torch.conv2d(x, torch.full((1, 1, 1, 1), -5.0), torch.ones(1)), 5),
        (lambda x: functional.conv2d(x, weight=torch.full((1, 1, 1, 1), -5.0), bias=torch.ones(1)), 5),
    ],
)
def test_functions_of_one_unit_have_the_factor_that_they_should(
    function: Callable[[Tensor], Tensor], factor: float
) -> None:
    model = Forward(function)
    model.conv = nn.Conv2d(1, 1, 1)
    nn.init.ones_(model.conv.weight)
    assert receptive_field(model, (1, 3, 3)).total == pytest.approx(factor)


ACTIVATIONS: list[Callable[[Tensor], Tensor]] = [
    functional.relu,
    functional.relu6,
    functional.hardtanh,
    functional.celu,
    functional.tanh,
    functional.softplus,
    functional.logsigmoid,
    functional.softsign,
    functional.tanhshrink,
    torch.abs,
    functional.leaky_relu,
    lambda x: functional.leaky_relu(x, 1.7),
    lambda x: functional.leaky_relu(x, negative_slope=-2.5),
    functional.elu,
    lambda x: functional.elu(x, 3.0),
    functional.selu,
    torch.sigmoid,
    functional.hardsigmoid,
    functional.hardswish,
    functional.silu,
    functional.mish,
    functional.gelu,
    lambda x: functional.gelu(x, approximate="tanh"),
    lambda x: torch.clamp(x, -0.5, 0.5),
    lambda x: functional.threshold(x, 0.3, 1.0),
]


@pytest.mark.parametrize("number", range(len(ACTIVATIONS)))
def test_an_activation_counts_with_its_largest_slope(number: int) -> None:
    activation = ACTIVATIONS[number]
    values = torch.linspace(-30, 30, 600_001, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(activation(values).sum(), values)
    model = Forward(activation)
    model.conv = nn.Conv2d(1, 1, 1)
    nn.init.ones_(model.conv.weight)
    bound = receptive_field(model, (1, 3, 3)).total
    steepest = float(slopes.abs().max())
    assert steepest <= bound * (1 + 1e-12)
    # Nor more than it takes.
    assert bound <= steepest * 1.001


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: functional.layer_norm(x, x.shape[1:]), r"calls layer_norm, which divides by the image's own"),
        (lambda x: functional.group_norm(x, 2), r"calls group_norm, which divides"),
        (lambda x: torch.softmax(x, 1), r"calls softmax, which weighs"),
        (lambda x: x * torch.sigmoid(x), r"calls mul on two maps that both depend on the image"),
        (lambda x: x / (1 + x.abs()), r"calls a division with parameters that depend on the image"),
        (lambda x: 1 / (x + 9), r"calls rdiv, for which no bound is known"),
        (lambda x: x**2, r"calls pow, for which no bound"),
        (lambda x: x * x.detach(), r"calls detach, for which no bound is known"),
        (lambda x: x * x.data.abs(), r"takes what get returns out of the gradient"),
        (lambda x: x * (x > 0), r"calls gt, for which"),
        (lambda x: x if x.sum() > 0 else -x, r"calls gt, for which"),
        (lambda x: functional.dropout(x, 0.2), r"calls dropout in evaluation mode too, so its gradient is random"),
        (
            lambda x: functional.interpolate(x, scale_factor=2.0, mode="bicubic"),
            r"calls interpolate with the mode bicubic, which",
        ),
        (
            lambda x: functional.batch_norm(x, None, None, training=True),
            r"normalises by the statistics of the batch itself",
        ),
        (
            lambda x: functional.conv2d(x, x[0, :1, :1, :1, None].expand(1, 4, 1, 1)),
            r"calls conv2d on two maps that both depend",
        ),
        (lambda x: torch.ops.aten.square(x), r"calls square, for which"),
    ],
)
def test_what_has_no_bound_is_refused_by_name(function: Callable[[Tensor], Tensor], sentence: str) -> None:
    with pytest.raises(
        UserError, match=rf"no receptive field of this network can be computed: Forward {sentence}"
    ) as e:
        receptive_field(Forward(function), (2, 6, 6))
    assert "\n" not in str(e.value)


def test_a_refusal_says_which_module_it_is_about() -> None:
    model = pooled(nn.Conv2d(2, 4, 1), nn.Sequential(nn.ReLU(), nn.InstanceNorm2d(4)))
    with pytest.raises(UserError, match=r"computed: 1\.1 \(InstanceNorm2d\) calls instance_norm, which divides"):
        receptive_field(model, (2, 6, 6))


class _Doubled(torch.autograd.Function):
    """Hidden from whoever watches PyTorch's functions: NumPy computes it."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return torch.from_numpy(2 * images.detach().numpy())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


class _Unseen(torch.autograd.Function):
    """As an extension in C++ would be."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return images * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -5 * gradient


def test_what_cannot_be_seen_is_refused() -> None:
    with pytest.raises(UserError, match=r"calls detach, for which no bound is known"):
        receptive_field(Forward(_Doubled.apply), (2, 6, 6))
    with pytest.raises(UserError, match=r"_Unseen is an autograd function of its own"):
        receptive_field(Forward(_Unseen.apply), (2, 6, 6))
    with pytest.raises(UserError, match=r"computes maps again in its backward pass"):
        receptive_field(Forward(lambda x: checkpoint(torch.relu, x, use_reentrant=False)), (2, 6, 6))
    with pytest.raises(UserError, match=r"takes what relu returns out"):
        receptive_field(Forward(torch.no_grad()(torch.relu)), (2, 6, 6))
