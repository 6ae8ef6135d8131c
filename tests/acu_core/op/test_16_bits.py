"""Depthwise units and units of several shapes on the CPU, where images and weights hold 16 bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from oracles import Products, gather, products
from torch import Tensor

from acu_core.op import library
from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference

DTYPES = [torch.bfloat16, torch.float16]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
NO_PADDING = Paddings(0, 0, 0, 0)


@dataclass(frozen=True)
class Unit:
    images: int
    channels: int
    outputs: int
    size: tuple[int, int]
    groups: int = 1
    position_groups: int = 1
    stride: tuple[int, int] = (1, 1)
    padding: Paddings = NO_PADDING


# Channels that fill vectors, halves, fours and ones, several vectors together; tiles of rows and of parts of a row.
UNITS = {
    "depthwise": Unit(2, 61, 61, (21, 20), groups=61),
    "depthwise, parts of a row": Unit(1, 37, 37, (3, 400), groups=37, padding=Paddings(1, 0, 2, -1)),
    "depthwise, a stride": Unit(2, 45, 45, (13, 14), groups=45, stride=(2, 3), padding=Paddings(2, 2, -1, 2)),
    "depthwise, a shape a channel": Unit(2, 53, 53, (14, 15), groups=53, position_groups=53),
    "depthwise, some shapes": Unit(3, 24, 24, (9, 8), groups=24, position_groups=4, stride=(2, 1)),
    "shapes, as many outputs as channels": Unit(2, 24, 24, (16, 17), position_groups=4),
    "shapes, more outputs": Unit(2, 5, 58, (9, 8), position_groups=2, stride=(1, 2), padding=Paddings(1, 1, 0, 0)),
    "shapes of groups": Unit(3, 12, 36, (7, 9), groups=2, position_groups=3),
    "shapes of three channels": Unit(2, 3, 20, (12, 11), position_groups=2),
}


def draw(unit: Unit, dtype: torch.dtype, layout: torch.memory_format) -> tuple[list[Tensor], Tensor]:
    """Input, weight, positions and bias; and a gradient of the output."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(unit.images, unit.channels, *unit.size, generator=generator).to(dtype)
    weight = torch.randn(unit.outputs, unit.channels // unit.groups, 9, generator=generator).to(dtype)
    positions = 1.5 * torch.randn(unit.position_groups, 9, 2, generator=generator)
    positions[:, ::3] = positions[:, ::3].round()
    bias = torch.randn(unit.outputs, generator=generator).to(dtype)
    top, bottom, left, right = unit.padding
    height = (unit.size[0] + top + bottom - 1) // unit.stride[0] + 1
    width = (unit.size[1] + left + right - 1) // unit.stride[1] + 1
    gradient = torch.randn(unit.images, unit.outputs, height, width, generator=generator).to(dtype)
    image, gradient = (t.contiguous(memory_format=layout) for t in (image, gradient))
    return [t.requires_grad_() for t in (image, weight, positions, bias)], gradient


@pytest.mark.parametrize("instruction_set", library.supported_instruction_sets())
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_value_and_gradients_are_rounded_once(
    unit: Unit, dtype: torch.dtype, layout: torch.memory_format, instruction_set: str
) -> None:
    settings = (unit.stride, unit.padding, unit.groups)
    tensors, gradient = draw(unit, dtype, layout)
    with library.with_instruction_set(instruction_set):
        output = active_conv2d(*tensors, *settings)
        actual = (output.detach(), *torch.autograd.grad(output, tensors, gradient))
    wide = [t.detach().double().requires_grad_() for t in tensors]
    exact = active_conv2d_reference(*wide, *settings)
    expected = (exact.detach(), *torch.autograd.grad(exact, wide, gradient.double()))
    sizes = products(*wide, gradient, *settings)
    for name, one, right in zip(Products._fields, actual, expected, strict=True):
        assert one.dtype == (torch.float32 if name == "positions" else dtype)
        half = 0.0 if name == "positions" else torch.finfo(dtype).eps / 2
        # The sums are float32: they add the roundings of what is summed.
        allowed = half * right.abs() + 1e-6 * getattr(sizes, name) + 2.0**-25
        assert bool(((one.double() - right).abs() <= allowed).all()), name
    assert actual[0].is_contiguous(memory_format=layout)
    assert actual[1].is_contiguous(memory_format=layout)


# The kernels take many channels together, and the first ones blend what several synapses say about a pixel.
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", ["integer", "fraction"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("position_groups", [1, 37])
def test_inf_and_nan_reach_what_sees_them_of_a_depthwise_unit(
    value: float,
    kind: str,
    stride: tuple[int, int],
    layout: torch.memory_format,
    dtype: torch.dtype,
    position_groups: int,
) -> None:
    channels, shown = 37, [3, 4, 33, 36]
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, channels, 7, 8, generator=generator).to(dtype)
    image[0, 3, 3, 5] = image[1, 33, 0, 7] = image[1, 36, 2, 2] = value
    image = image.contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(channels, 1, 4, generator=generator).to(dtype)
    weight[3, 0, 1] = 0
    positions = 1.5 * torch.randn(position_groups, 4, 2, generator=generator)
    positions = positions.round() if kind == "integer" else positions
    positions[:, 1] = 0
    output = active_conv2d(image, weight, positions, None, stride, 1, channels)

    # The gather knows no groups of channels: one channel at a time.
    def alone(c: int) -> Tensor:
        one = image.detach().float()[:, [c]]
        return gather(one, weight.float()[[c]], positions[[c % position_groups]], stride, Paddings(1, 1, 1, 1))

    expected = torch.cat([alone(c) for c in shown], dim=1)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(output.detach()[:, shown].float(), expected, rtol=eps, atol=1e-5, equal_nan=True)
    assert not torch.isfinite(expected[0, 0]).all()
    assert torch.isfinite(output[:, [c for c in range(channels) if c not in shown]]).all()

    # Backward: the pixels that an output pixel sees with a share are those to which it gives something.
    def input_gradient(of_one_pixel: float) -> Tensor:
        gradient = torch.zeros_like(output)
        gradient[0, 5, 1, 1] = of_one_pixel
        return torch.autograd.grad(output, image, gradient, retain_graph=True)[0]

    seen = input_gradient(1.0) != 0
    assert seen.any()
    assert torch.equal(~torch.isfinite(input_gradient(value)), seen)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", ["integer", "fraction"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [3, 19])
def test_inf_and_nan_reach_the_outputs_that_see_them_of_several_shapes(
    value: float, kind: str, layout: torch.memory_format, dtype: torch.dtype, channels: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, channels, 7, 8, generator=generator).to(dtype)
    image[0, 1, 3, 5] = image[0, 0, 0, 7] = value
    image = image.contiguous(memory_format=layout)
    weight = torch.randn(4, channels, 4, generator=generator).to(dtype)
    positions = 1.5 * torch.randn(2, 4, 2, generator=generator)
    positions = positions.round() if kind == "integer" else positions
    output = active_conv2d(image, weight, positions, None, 1, 1)
    expected = gather(image.float(), weight.float(), positions, (1, 1), Paddings(1, 1, 1, 1))
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(output.float(), expected, rtol=eps, atol=1e-4, equal_nan=True)
    finite = torch.isfinite(expected)
    assert finite.any()
    assert not finite.all()
