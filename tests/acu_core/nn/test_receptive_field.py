from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from field_networks import Forward, ones, pooled, window
from torch import Tensor, nn
from torch.nn import functional

import acu_core
from acu_core.errors import UserError
from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
from acu_core.nn.receptive_field import receptive_field
from acu_core.op.reference import active_conv2d_reference


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
