from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import acu_core
from acu_core.errors import UserError
from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
from acu_core.nn.conversion import to_conv2d
from acu_core.nn.networks import build_network
from acu_core.nn.receptive_field import ReceptiveField, receptive_field
from acu_core.op.reference import active_conv2d_reference


def pooled(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def ones(*arguments: int, **options: Any) -> nn.Conv2d:
    conv = nn.Conv2d(*arguments, bias=False, **options)
    nn.init.ones_(conv.weight)
    return conv


def window(field: ReceptiveField, rows: slice, columns: slice) -> Tensor:
    """The unnormalised map there; everything else is checked to be zero."""
    outside = field.map.clone()
    outside[rows, columns] = 0
    assert not outside.any()
    return field.map[rows, columns] * field.total


class Forward(nn.Module):
    """What a function makes of a network's first convolution."""

    def __init__(self, function: Callable[[Tensor], Tensor], *, pool: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.function = function
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        result = self.function(self.conv(images))
        return result.mean((2, 3)) if self.pool else result


def disturbed(model: nn.Module, seed: int) -> nn.Module:
    """The network in evaluation mode, float64, with nothing as it is initialised."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=draw)
            with torch.no_grad():
                tensor.copy_(noise.abs() + 0.2 if name.endswith("running_var") else tensor + 0.3 * noise)
    return model.double().eval()


def unit_gradient(model: nn.Module, before: nn.Module, images: Tensor) -> Tensor:
    """Of the centre unit's sum over the channels of what `before` receives: (N, C, H, W), image by image."""
    seen: list[Tensor] = []
    hook = before.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    images = images.clone().requires_grad_()
    model(images.clone())
    hook.remove()
    (last,) = seen
    (gradient,) = torch.autograd.grad(last[:, :, last.shape[2] // 2, last.shape[3] // 2].sum(), images)
    return gradient


def assert_bounded(model: nn.Module, before: nn.Module, shape: tuple[int, int, int], *, images: int = 6) -> None:
    field = receptive_field(model, shape)
    draw = torch.Generator().manual_seed(7)
    given = torch.randn(images, *shape, generator=draw, dtype=torch.float64) * torch.logspace(-2, 2, images).view(
        -1, 1, 1, 1
    )
    found = unit_gradient(model, before, given).abs().sum(1)
    assert found.any()
    # Both in float64: what is left is its rounding.
    assert bool((found <= field.map * field.total * (1 + 1e-9)).all())


def test_a_convolution_of_ones_sees_its_window() -> None:
    field = receptive_field(pooled(ones(1, 1, 3, padding=1)), (1, 8, 8))
    assert window(field, slice(3, 6), slice(3, 6)).tolist() == [[1.0] * 3] * 3
    assert field.map_size == (8, 8)
    assert field.centre == pytest.approx((4, 4))
    # Six of nine pixels are one away in y, six in x.
    assert field.radius == pytest.approx((4 / 3) ** 0.5)
    assert field.map.sum() == pytest.approx(1)


def test_two_convolutions_of_ones_see_a_pyramid() -> None:
    field = receptive_field(pooled(ones(1, 1, 3, padding=1), nn.ReLU(), ones(1, 1, 3, padding=1)), (1, 9, 9))
    side = torch.tensor([1.0, 2, 3, 2, 1], dtype=torch.float64)
    torch.testing.assert_close(window(field, slice(2, 7), slice(2, 7)), side.outer(side))


def test_a_stride_moves_the_centre_unit() -> None:
    field = receptive_field(pooled(ones(1, 1, 3, padding=1, stride=2)), (1, 12, 10))
    assert field.map_size == (6, 5)
    # Unit (3, 2) of the map.
    assert window(field, slice(5, 8), slice(3, 6)).tolist() == [[1.0] * 3] * 3
    assert field.centre == pytest.approx((6, 4))


def test_signs_and_biases_do_not_matter_and_channels_add_up() -> None:
    conv = nn.Conv2d(2, 3, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, -2], [-3, 4], [5, -6]]).view(3, 2, 1, 1))
    field = receptive_field(pooled(conv), (2, 5, 5))
    assert window(field, slice(2, 3), slice(2, 3)).item() == pytest.approx(21)
    assert field.radius == 0


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dilation", [1, 2])
def test_max_pooling_sums_its_window(ceil_mode: bool, padding: int, dilation: int) -> None:
    pool = nn.MaxPool2d(3, 2, padding, dilation, ceil_mode=ceil_mode)
    size = pool(torch.zeros(1, 1, 11, 11)).shape[-1]
    field = receptive_field(pooled(pool), (1, 11, 11))
    assert field.map_size == (size, size)
    seen = [2 * (size // 2) - padding + dilation * tap for tap in range(3)]
    expected = torch.zeros(11, 11, dtype=torch.float64)
    for y in seen:
        for x in seen:
            if 0 <= y < 11 and 0 <= x < 11:
                expected[y, x] = 1
    torch.testing.assert_close(field.map * field.total, expected)


def test_windows_of_max_pooling_may_reach_beyond_the_image() -> None:
    # Two windows, of which the second is cut: the centre unit is the second.
    field = receptive_field(pooled(nn.MaxPool2d(3, 3, ceil_mode=True)), (1, 4, 4))
    assert window(field, slice(3, 4), slice(3, 4)).tolist() == [[1.0]]


def test_batch_norm_scales_without_its_shift() -> None:
    norm = nn.BatchNorm2d(2, eps=0.5)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([-3.0, 2]))
        norm.bias.fill_(100)
    norm.running_var = torch.tensor([0.5, 3.5])
    norm.running_mean = torch.tensor([9.0, 9])
    field = receptive_field(pooled(norm), (2, 3, 3))
    assert window(field, slice(1, 2), slice(1, 2)).item() == pytest.approx(3 + 1)


def test_an_active_layer_on_the_grid_sees_what_its_convolution_sees() -> None:
    torch.manual_seed(0)
    model = pooled(nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(4, 3, 5, stride=2, padding=2))
    active = acu_core.from_conv2d(model)
    assert len(active_layers(active)) == 2
    torch.testing.assert_close(receptive_field(active, (2, 9, 9)), receptive_field(model, (2, 9, 9)))


def test_a_moved_synapse_sees_four_pixels_by_their_shares() -> None:
    layer = ActiveConv2d(1, 1, 1, bias=False, fix_centre=False)
    with torch.no_grad():
        layer.weight.fill_(-2)
        layer.positions.copy_(torch.tensor([[[1.25, -0.5]]]))
    field = receptive_field(pooled(layer), (1, 7, 7))
    expected = 2 * torch.tensor([[0.75 * 0.5, 0.75 * 0.5], [0.25 * 0.5, 0.25 * 0.5]], dtype=torch.float64)
    torch.testing.assert_close(window(field, slice(4, 6), slice(2, 4)), expected)
    assert field.centre == pytest.approx((4.25, 2.5))


@pytest.mark.parametrize("reference", [False, True])
def test_synapses_of_both_signs_at_one_place_do_not_cancel(reference: bool) -> None:
    layer = ActiveConv2d(1, 1, (1, 3), bias=False, padding=(0, 1))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[1.0, 2, -1]]]))
        layer.positions.copy_(torch.tensor([[[0.0, 1], [0, 0], [0, 1]]]))
    if reference:
        layer.operator = active_conv2d_reference
    field = receptive_field(pooled(layer), (1, 3, 5))
    assert window(field, slice(1, 2), slice(2, 4)).tolist() == [[2.0, 2.0]]


def test_positions_can_be_given_and_the_network_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model = pooled(ActiveConv2d(2, 3, 3, padding=1, position_groups=3), nn.BatchNorm2d(3), nn.ReLU()).train()
    before = copy.deepcopy(model.state_dict())
    positions = 2 * torch.randn(3, 9, 2)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved[0].positions.copy_(positions)  # type: ignore[union-attr]
    expected = receptive_field(moved, (2, 9, 9))
    # The centre is fixed where it is given.
    assert receptive_field(model, (2, 9, 9), positions={"0": positions}).map.equal(expected.map)
    assert not receptive_field(model, (2, 9, 9)).map.equal(expected.map)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert value.equal(before[name])
    with pytest.raises(UserError, match="no active layer conv9; it has 0"):
        receptive_field(model, (2, 9, 9), positions={"conv9": positions})


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


@pytest.mark.parametrize(
    "head",
    [
        lambda x: x.mean((2, 3)),
        lambda x: x.mean([-2, -1], keepdim=True).flatten(1),
        lambda x: x.mean(-1).mean(-1),
        lambda x: torch.mean(x.flatten(2), -1),
        lambda x: x.view(*x.shape[:2], -1).mean(2),
        lambda x: functional.avg_pool2d(x, x.shape[2:])[..., 0, 0],
        lambda x: functional.adaptive_avg_pool2d(x, 1).flatten(1).softmax(1),
        lambda x: functional.adaptive_avg_pool2d(x, 3).flatten(1).exp(),
        lambda x: torch.amax(x, (2, 3)),
        lambda x: x.sum((2, 3)) ** 2,
        lambda x: x.flatten(1) @ torch.ones(4 * 49, 2, dtype=x.dtype),
    ],
)
def test_the_last_map_is_found(head: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = Forward(head, pool=False)
    field = receptive_field(model, (2, 7, 7))
    assert field.map_size == (7, 7)
    weight = model.conv.weight.detach().double().abs().sum((0, 1))
    if "mean(-1).mean" not in str(head):
        torch.testing.assert_close(window(field, slice(2, 5), slice(2, 5)), weight)


def test_a_map_of_one_unit_may_be_the_last() -> None:
    for head in (lambda x: x.mean((2, 3)), lambda x: functional.adaptive_avg_pool2d(x, 1), lambda x: x.flatten(1)):
        field = receptive_field(Forward(lambda x, head=head: head(x[:, :, 3:4, 2:3]), pool=False), (2, 7, 7))
        assert field.map_size == (1, 1)
        assert bool((window(field, slice(2, 5), slice(1, 4)) > 0).all())


def test_the_last_of_several_poolings_counts() -> None:
    def branches(images: Tensor) -> Tensor:
        context = functional.adaptive_avg_pool2d(images, 1)
        return functional.max_pool2d(images + context, 2)

    field = receptive_field(Forward(branches), (2, 8, 8))
    assert field.map_size == (4, 4)
    # The context sees everything, as the sum of both paths does.
    assert bool((field.map > 0).all())


def test_a_network_without_a_last_map_is_refused() -> None:
    with pytest.raises(UserError, match=r"Forward has no last map: nothing in it pools over the image"):
        receptive_field(Forward(torch.relu, pool=False), (2, 6, 6))


def test_a_unit_that_sees_nothing_and_weights_that_are_not_finite_are_refused() -> None:
    conv = ones(1, 1, 3, padding=1)
    with torch.no_grad():
        conv.weight.zero_()
    with pytest.raises(UserError, match="sees nothing of the image"):
        receptive_field(pooled(conv), (1, 5, 5))
    with torch.no_grad():
        conv.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        receptive_field(pooled(conv), (1, 5, 5))


def test_script_is_refused_and_half_precision_is_not() -> None:
    torch.manual_seed(0)
    model = pooled(ActiveConv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    expected = receptive_field(model, (2, 7, 7))
    half = receptive_field(copy.deepcopy(model).bfloat16(), (2, 7, 7))
    torch.testing.assert_close(half.map, expected.map, atol=1e-3, rtol=2e-2)


def test_a_compiled_network_is_looked_into() -> None:
    torch.manual_seed(0)
    model = pooled(nn.Conv2d(2, 3, 3), nn.ReLU())
    assert receptive_field(torch.compile(model), (2, 7, 7)).map.equal(  # type: ignore[arg-type]
        receptive_field(model, (2, 7, 7)).map
    )


def test_parametrized_weights_and_positions_that_need_gradients() -> None:
    torch.manual_seed(0)
    model = pooled(ActiveConv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3))
    positions = torch.randn(1, 9, 2, requires_grad=True)
    expected = receptive_field(model, (2, 7, 7), positions={"0": positions})
    for layer in model[:2]:
        torch.nn.utils.parametrizations.weight_norm(layer)
    found = receptive_field(model, (2, 7, 7), positions={"0": positions})
    torch.testing.assert_close(found.map, expected.map)
    assert found.total == pytest.approx(expected.total)


def test_modes_without_gradients_do_not_matter() -> None:
    torch.manual_seed(0)
    model = pooled(ActiveConv2d(2, 3, 3, padding=1), nn.ReLU())
    expected = receptive_field(model, (2, 7, 7)).map
    with torch.no_grad():
        assert receptive_field(model, (2, 7, 7)).map.equal(expected)
    with torch.inference_mode():
        assert receptive_field(model, (2, 7, 7)).map.equal(expected)


def test_the_public_name() -> None:
    assert acu_core.receptive_field is receptive_field
