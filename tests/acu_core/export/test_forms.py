"""Every form of a layer computes what the layer does, and is as small as its shape allows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from oracles import gather, relative_error
from torch import Tensor, nn

from acu_core import ActiveConv2d
from acu_core.export.costs import costs, input_sizes
from acu_core.export.custom_form import CustomForm
from acu_core.export.dense_form import dense_form
from acu_core.export.fixed_unit import FixedUnit
from acu_core.export.shifts_form import BLEND_COSTS, cheapest_kernel, kernel_sizes, shifted_synapses, shifts_form
from acu_core.op.reference import dense_kernel

WAYS = [{"symmetric": True, "channels_last": True}, {"symmetric": False, "channels_last": False}]
PLAIN = WAYS[1]


def moved(inputs: int, outputs: int, kernel: int, seed: int = 0, **options: Any) -> ActiveConv2d:
    torch.manual_seed(seed)
    layer = ActiveConv2d(inputs, outputs, kernel, **options).eval()
    layer.positions.data += torch.randn(layer.positions.shape)
    return layer


def at(places: list[tuple[float, float]], inputs: int = 8, outputs: int = 8, **options: Any) -> ActiveConv2d:
    layer = ActiveConv2d(inputs, outputs, 3, padding=1, bias=False, **options).eval()
    layer.positions.data[0] = torch.tensor(places)
    return layer


GRID = [(float(y), float(x)) for y, x in itertools.product((-1, 0, 1), (-1, 0, 1))]
SPREAD = [(1.5 * y, 1.5 * x) for y, x in GRID]


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": 1, "stride": 2, "bias": False},
        {"padding": 0, "stride": (1, 2)},
        {"padding": -1},
        {"padding": (0, 3)},
        {"padding": 2, "dilation": 2},
        {"padding": "same"},
        {"padding": 1, "position_groups": 3},
        {"padding": 1, "groups": 3},
        {"padding": 1, "groups": 6, "position_groups": 2},
    ],
    ids=str,
)
def test_every_form_is_the_layer(options: dict[str, Any], rounded: bool) -> None:
    layer = moved(6, 12, 3, **options)
    if rounded:
        layer.round_()
    images = torch.randn(2, 6, 12, 15)
    unit = FixedUnit.of(layer)
    forms = [dense_form(unit), CustomForm(unit)]
    if options.get("position_groups", 1) == 1 or options.get("groups", 1) == 1:
        forms += [shifts_form(unit, cost, **way) for cost in (0.0, *BLEND_COSTS) for way in WAYS]
    with torch.no_grad():
        expected = layer(images)
        for form in forms:
            output = form(images)
            assert relative_error(output, expected) < 1e-5, form
            assert output.is_contiguous()
    assert any(shifted_synapses(form) for form in forms) or len(forms) == 2


@pytest.mark.parametrize("kernel", [(2, 2), (5, 5)])
def test_other_kernels(kernel: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = ActiveConv2d(4, 4, kernel, padding=1).eval()
    layer.positions.data += torch.rand(layer.positions.shape)
    images = torch.randn(1, 4, 9, 9)
    unit = FixedUnit.of(layer)
    with torch.no_grad():
        for form in (dense_form(unit), shifts_form(unit, 0.0, **PLAIN), CustomForm(unit)):
            assert relative_error(form(images), layer(images)) < 1e-5


def test_a_kernel_has_the_cells_in_use_and_no_others() -> None:
    # Two rows of a rounded shape: a Conv2d that pads alike would need five rows for these four.
    layer = at([(-1, 0), (0, 0), (2, 1), (2, -1), (0, 0), (-1, 1), (0, 1), (1, 0), (1, -1)])
    assert tuple(layer.to_conv2d().kernel_size) == (5, 3)
    form = dense_form(FixedUnit.of(layer))
    assert kernel_sizes(form) == [(4, 3)]
    assert costs(form, torch.zeros(1, 8, 9, 9)).operations == 12 * 8 * 8 * 81
    # On a coarse grid the kernel is dilated: 3x3 in place of 5x5, and one row.
    assert kernel_sizes(dense_form(FixedUnit.of(at([(2 * y, 2 * x) for y, x in GRID])))) == [(3, 3)]
    assert kernel_sizes(dense_form(FixedUnit.of(at([(0, 4 * x) for _, x in GRID])))) == [(1, 3)]
    # On the grid of an ordinary convolution it is that convolution.
    ordinary = dense_form(FixedUnit.of(at(GRID)))
    assert isinstance(ordinary, nn.Conv2d)
    assert (ordinary.kernel_size, ordinary.padding) == ((3, 3), (1, 1))


def test_synapses_that_were_rounded_to_one_pixel_are_one_product() -> None:
    layer = at([(-3, 0)] * 3 + [(0, 3)] * 3 + [(0, 0)] * 3)
    unit = FixedUnit.of(layer).merged()
    assert unit.synapses == 3
    form = shifts_form(FixedUnit.of(layer), 1.0, **PLAIN)
    assert shifted_synapses(form) == 2
    image = torch.randn(1, 8, 9, 9)
    with torch.no_grad():
        assert relative_error(form(image), layer(image)) < 1e-5
    # The centre needs no blend.
    assert costs(form, image).operations < 3 * 8 * 8 * 81 + 2 * 9 * 8 * 81


def test_spread_synapses_cost_a_product_each() -> None:
    unit = FixedUnit.of(at(SPREAD, 64, 64))
    image = torch.zeros(1, 64, 8, 8)
    dense, shifts = costs(dense_form(unit), image), costs(shifts_form(unit, 3.0, **PLAIN), image)
    ordinary = costs(dense_form(FixedUnit.ordinary(at(SPREAD, 64, 64))), image)
    assert ordinary.operations == 9 * 64 * 64 * 64
    assert dense.operations == 25 * 64 * 64 * 64
    # A blend reads at most nine cells of each channel, 64 times fewer than a product.
    assert ordinary.operations < shifts.operations <= ordinary.operations * (1 + 9 / 64)
    custom = costs(CustomForm(unit), image)
    assert custom.operations == ordinary.operations + 3 * 9 * 64 * 64
    assert custom.parameters == ordinary.parameters + 18


def test_the_bias_counts_in_every_form() -> None:
    torch.manual_seed(0)
    unit = FixedUnit.of(moved(2, 4, 3, padding=1))
    forms = dense_form(unit), shifts_form(unit, 1.0, **PLAIN), CustomForm(unit)
    without = moved(2, 4, 3, padding=1)
    without.bias = None
    bare = FixedUnit.of(without)
    others = dense_form(bare), shifts_form(bare, 1.0, **PLAIN), CustomForm(bare)
    image = torch.zeros(1, 2, 8, 8)
    for form, other in zip(forms, others, strict=True):
        assert costs(form, image).parameters == costs(other, image).parameters + 4


def test_a_coarse_grid_takes_no_more_memory_than_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(*arguments: Any) -> Tensor:
        kernel = dense_kernel(*arguments)
        made.append(kernel.numel())
        return kernel

    monkeypatch.setattr("acu_core.export.dense_form.dense_kernel", counted)
    layer = ActiveConv2d(4, 4, 3, padding=36, dilation=36).eval()
    form = dense_form(FixedUnit.of(layer))
    assert made == [4 * 4 * 9]
    image = torch.randn(1, 4, 50, 41)
    with torch.no_grad():
        assert relative_error(form(image), layer(image)) < 1e-5


def test_synapses_that_lie_together_stay_one_kernel() -> None:
    near = [(0.5 * y, 0.5 * x) for y, x in GRID]
    unit = FixedUnit.of(at(near))
    assert cheapest_kernel(unit, 1.0) == list(range(9)), "a window of 3x3 cells holds all nine"
    near[0], near[8] = (-3.5, -3.5), (3.5, 3.5)
    assert cheapest_kernel(FixedUnit.of(at(near, 64, 64)), 10.0) == list(range(1, 8))
    # The dearer a blend, the larger the window that is better than one.
    spread = FixedUnit.of(at(SPREAD))
    sizes = [len(cheapest_kernel(spread, cost)) for cost in (0.0, 1.0, 10.0, 100.0)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 9
    assert sizes[0] < 9


def test_what_has_no_such_form_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="position groups in a grouped convolution"):
        shifts_form(FixedUnit.of(moved(6, 12, 3, groups=6, position_groups=2)), 1.0, **PLAIN)
    with pytest.raises(ValueError, match="64 x 9 shifted images are more than 256"):
        shifts_form(FixedUnit.of(moved(1, 64, 3, position_groups=64)), 1.0, **PLAIN)
    far = at([(0.5, 1e6), *GRID[1:]], 512, 512)
    for make in (dense_form, lambda unit: shifts_form(unit, 1.0, **PLAIN)):
        with pytest.raises(ValueError, match=r"too far out, at \(y, x\) = \(0.5, 1e\+06\)"):
            make(FixedUnit.of(far))


def test_a_synapse_beyond_the_image_reads_nothing() -> None:
    layer = at([(-30.25, 21.5), (9.5, -40.0), *GRID[2:]], 4, 4)
    images = torch.randn(1, 4, 11, 9)
    unit = FixedUnit.of(layer)
    with torch.no_grad():
        for form in (dense_form(unit), *(shifts_form(unit, 1.0, **way) for way in WAYS)):
            assert relative_error(form(images), layer(images)) < 1e-5
    # One row of cells, all of it outside.
    outside = at([(20.0, 0.5)] * 9, 4, 4)
    assert not dense_form(FixedUnit.of(outside))(images).any()


def reached(form: nn.Module, value: float) -> Tensor:
    """The output pixels that one such value in the middle of an image makes not finite."""
    image = torch.ones(1, 1, 11, 11)
    image[0, 0, 5, 5] = value
    with torch.no_grad():
        return ~torch.isfinite(form(image)[0]).all(0)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_how_far_inf_and_nan_reach(value: float) -> None:
    layer = at(SPREAD, 1, 1)
    unit = FixedUnit.of(layer)
    image = torch.ones(1, 1, 11, 11)
    image[0, 0, 5, 5] = value
    exact = ~torch.isfinite(gather(image, layer.weight, layer.positions, (1, 1), layer.paddings)[0]).all(0)
    custom, dense = reached(CustomForm(unit), value), reached(dense_form(unit), value)
    assert torch.equal(custom, exact), "where a synapse has a share of the pixel"
    window = torch.zeros(11, 11, dtype=torch.bool)
    window[3:8, 3:8] = True
    assert torch.equal(dense, window), "the whole kernel, whose cells of 0 give NaN"
    for way in WAYS:
        shifts = reached(shifts_form(unit, 0.0, **way), value)
        assert bool((exact & ~shifts).sum() == 0), "nowhere is it lost"
        assert bool((shifts & ~window).sum() == 0), "no further than a blend with its zeros reaches"


def test_sizes_are_those_behind_a_layers_own_hooks() -> None:
    layer = ActiveConv2d(2, 2, 3)
    layer.register_forward_pre_hook(lambda module, inputs: (nn.functional.pad(inputs[0], (1, 2, 3, 4)),))
    network = nn.Sequential(nn.Conv2d(3, 2, 1, stride=2), layer)
    assert input_sizes(network, torch.zeros(1, 3, 8, 10)) == {"1": (2, 11, 8)}
    assert len(layer._forward_pre_hooks) == 1
