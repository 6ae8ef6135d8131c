"""The compiled operator against the reference: values and all four gradients, over drawn shapes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch
from gpu import ON_CPU_AND_GPU
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import Products, products, relative_error
from torch import Tensor

from acu_core.op import library
from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference

SUPPORTED = library.INSTRUCTION_SETS


@dataclass(frozen=True)
class Case:
    images: int
    groups: int
    channels: int
    outputs: int
    position_groups: int
    synapses: int
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: Paddings
    positions: str
    layout: str
    dtype: torch.dtype
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    groups, position_groups = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (4, 2)]))
    least = groups * position_groups // (2 if groups % 2 == 0 and position_groups % 2 == 0 else 1)
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    top, left = draw(st.integers(-3, 3)), draw(st.integers(-3, 3))
    # At least one output pixel: H + top + bottom >= 1.
    bottom, right = draw(st.integers(max(-3, 1 - height - top), 4)), draw(st.integers(max(-3, 1 - width - left), 4))
    return Case(
        images=draw(st.sampled_from([0, 1, 2, 3, 5, 17])),
        groups=groups,
        channels=groups * draw(st.sampled_from([1, 2, 3, 8, 17, 27])),
        outputs=least * draw(st.sampled_from([1, 2, 3, 16])),
        position_groups=position_groups,
        synapses=draw(st.sampled_from([1, 2, 4, 9])),
        size=(height, width),
        stride=stride,
        padding=Paddings(top, max(bottom, 1 - height - top), left, max(right, 1 - width - left)),
        positions=draw(
            st.sampled_from(["near", "integer", "half", "one axis", "other axis", "far", "just below", "just above"])
        ),
        layout=draw(st.sampled_from(["contiguous", "channels_last", "strided"])),
        dtype=draw(st.sampled_from([torch.float32, torch.float64])),
        seed=draw(st.integers(0, 2**31)),
    )


def make_positions(case: Case, generator: torch.Generator) -> Tensor:
    positions = 2 * torch.randn(case.position_groups, case.synapses, 2, generator=generator, dtype=case.dtype)
    tiny = 1e-7 if case.dtype == torch.float32 else 1e-15
    match case.positions:
        case "integer":
            return positions.round()
        case "half":
            return positions.floor() + 0.5
        case "one axis":
            return torch.stack((positions[..., 0].round(), positions[..., 1]), dim=2)
        case "other axis":
            return torch.stack((positions[..., 0], positions[..., 1].round()), dim=2)
        case "far":
            return positions * 10.0 ** torch.randint(0, 30, positions.shape, generator=generator)
        case "just below":
            return positions.round() - tiny
        case "just above":
            return positions.round() + tiny
    return positions


def make_image(case: Case, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """An input or a gradient of an output, in the layout of the case."""
    if case.layout == "strided":
        big = torch.randn(shape[0], shape[1] + 1, shape[2] * 2, shape[3] + 3, generator=generator, dtype=case.dtype)
        return big[:, 1:, ::2, 2:-1]
    image = torch.randn(shape, generator=generator, dtype=case.dtype)
    return image.contiguous(memory_format=torch.channels_last) if case.layout == "channels_last" else image


def slices(tensor: Tensor) -> Tensor:
    """The same numbers with a stride of 3 along the last axis, the first of them not at the start of the memory."""
    return tensor.new_zeros(*tensor.shape[:-1], 3 * tensor.shape[-1])[..., 1::3].copy_(tensor)


def check(case: Case, device: str) -> None:
    generator = torch.Generator().manual_seed(case.seed)
    image = make_image(case, (case.images, case.channels, *case.size), generator)
    weight = torch.randn(
        case.outputs, 2 * case.channels // case.groups, case.synapses, generator=generator, dtype=case.dtype
    )[:, ::2]
    positions = slices(make_positions(case, generator))
    bias = slices(torch.randn(case.outputs, generator=generator, dtype=case.dtype))
    arguments = (case.stride, case.padding, case.groups)
    tensors = [t.to(device).requires_grad_() for t in (image, weight, positions, bias)]
    output = active_conv2d(*tensors, *arguments)
    exact = [t.detach().double().requires_grad_() for t in (image, weight, positions, bias)]
    expected = active_conv2d_reference(*exact, *arguments)
    grad_output = make_image(case, tuple(output.shape), generator)
    gradients = torch.autograd.grad(output, tensors, grad_output.to(device))
    expected_gradients = torch.autograd.grad(expected, exact, grad_output.double())
    tolerance = 1e-11 if case.dtype == torch.float64 else 1e-5
    results = zip(Products._fields, (output, *gradients), (expected, *expected_gradients), strict=True)
    for name, actual, right in results:
        assert actual.dtype == case.dtype
        if relative_error(actual.cpu(), right) >= tolerance:
            sizes = getattr(products(*exact, grad_output, *arguments), name)
            allowed = tolerance * right.norm() + 4 * torch.finfo(case.dtype).eps * sizes.norm()
            assert (actual.detach().cpu().double() - right.detach()).norm() <= allowed, name
    if case.layout == "channels_last" and image.numel() and not image.is_contiguous():
        assert output.is_contiguous(memory_format=torch.channels_last)
        assert gradients[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("device", ON_CPU_AND_GPU)
@settings(max_examples=300, deadline=None, derandomize=True)
@given(case=cases())
@example(Case(5, 1, 1, 3, 1, 1, (1, 1), (1, 1), Paddings(0, 0, -1, 1), "just below", "contiguous", torch.float32, 1))
def test_parity_with_the_reference(device: str, case: Case) -> None:
    check(case, device)


@pytest.fixture
def instruction_set(request: pytest.FixtureRequest):
    before = library.instruction_set()
    try:
        library.force_instruction_set(request.param)
    except RuntimeError:
        pytest.skip(f"this processor or build lacks {request.param}")
    yield request.param
    library.force_instruction_set(before)


@pytest.mark.parametrize("instruction_set", SUPPORTED, indirect=True)
def test_every_instruction_set_that_this_machine_has(instruction_set: str) -> None:
    assert library.instruction_set() == instruction_set

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(case=cases())
    def drawn(case: Case) -> None:
        check(case, "cpu")

    drawn()


# Drawn shapes hit these together only now and then: where every run starts (whole pixels) and where the shares of all
# four corners are equal; a stride that does not slide; a border that cuts the image; channels that are two vectors, one
# vector and a part of one, for every instruction set and dtype.
@pytest.mark.parametrize("instruction_set", SUPPORTED, indirect=True)
@pytest.mark.parametrize("positions", ["integer", "half", "one axis", "other axis"])
def test_positions_on_pixels_and_between(instruction_set: str, positions: str) -> None:
    assert library.instruction_set() == instruction_set
    paddings = [Paddings(0, 0, 0, 0), Paddings(-1, -2, -2, -1), Paddings(3, -2, -1, 2)]
    shapes = [(1, 3, 18, 1), (1, 63, 18, 2), (2, 62, 18, 1), (31, 31, 31, 1), (31, 31, 31, 31), (1, 36, 33, 1)]
    combinations = itertools.product(
        shapes, [(1, 1), (2, 2)], paddings, ["contiguous", "channels_last", "strided"], [torch.float32, torch.float64]
    )
    for seed, (shape, stride, padding, layout, dtype) in enumerate(combinations):
        check(Case(3, *shape, 9, (9, 10), stride, padding, positions, layout, dtype, seed), "cpu")


# Shapes that fill several tiles, blocks and panels, which small drawn ones do not.
LARGE = [
    Case(5, 1, 48, 48, 1, 9, (32, 32), (1, 1), Paddings(0, 0, 0, 0), "near", "channels_last", torch.float32, 1),
    Case(5, 1, 48, 48, 1, 9, (32, 32), (1, 1), Paddings(0, 0, 0, 0), "near", "contiguous", torch.float32, 2),
    Case(3, 1, 64, 50, 1, 9, (17, 19), (2, 2), Paddings(0, 0, 0, 0), "near", "channels_last", torch.float32, 3),
    Case(7, 1, 500, 24, 1, 4, (8, 8), (1, 1), Paddings(1, 1, 1, 1), "near", "contiguous", torch.float32, 4),
    Case(1, 1, 20, 24, 4, 9, (30, 250), (1, 1), Paddings(2, 2, 2, 2), "near", "channels_last", torch.float64, 5),
    Case(1, 8, 8, 8, 1, 9, (56, 56), (1, 1), Paddings(0, 0, 0, 0), "near", "contiguous", torch.float64, 6),
    Case(3, 30, 30, 30, 1, 9, (9, 8), (1, 1), Paddings(1, 1, 0, 0), "near", "channels_last", torch.float32, 8),
    Case(2, 500, 500, 500, 1, 9, (6, 6), (2, 1), Paddings(0, 0, 0, 0), "near", "contiguous", torch.float32, 9),
    # Depthwise: a shape a channel, parts of a row, positions beyond the image, more cells than are held at once.
    Case(3, 53, 53, 53, 53, 9, (14, 15), (1, 1), Paddings(0, 0, 0, 0), "near", "channels_last", torch.float32, 10),
    Case(2, 19, 19, 19, 19, 9, (12, 12), (1, 1), Paddings(0, 0, 0, 0), "far", "contiguous", torch.float64, 11),
    Case(2, 21, 21, 21, 1, 9, (3, 700), (1, 1), Paddings(1, 0, 2, -1), "near", "contiguous", torch.float32, 12),
    Case(2, 40, 40, 40, 8, 25, (9, 40), (2, 3), Paddings(2, 2, -1, 2), "near", "channels_last", torch.float32, 13),
    Case(1, 24, 24, 24, 2, 25, (70, 9), (3, 2), Paddings(1, 2, 2, 1), "integer", "contiguous", torch.float64, 14),
    # Several shapes at stride 1: groups of outputs that are vectors, halves, fours and ones; an image cut into rows.
    Case(3, 1, 30, 58, 2, 9, (16, 17), (1, 1), Paddings(0, 0, 0, 0), "near", "channels_last", torch.float32, 15),
    Case(1, 1, 11, 87, 3, 9, (50, 9), (1, 1), Paddings(2, -1, 1, 0), "near", "contiguous", torch.float32, 16),
    Case(1, 1, 20, 24, 4, 9, (40, 250), (1, 1), Paddings(-2, 1, -3, 2), "integer", "channels_last", torch.float64, 17),
    Case(2, 1, 30, 20, 1, 25, (8, 250), (3, 2), Paddings(-1, 2, 2, -2), "integer", "contiguous", torch.float32, 7),
    Case(5, 1, 3, 16, 1, 9, (32, 32), (1, 1), Paddings(0, 0, 0, 0), "near", "channels_last", torch.float32, 10),
    Case(1, 1, 3, 21, 3, 9, (30, 250), (1, 1), Paddings(2, -1, 0, 3), "near", "contiguous", torch.float32, 11),
    Case(9, 1, 3, 40, 2, 25, (7, 6), (2, 1), Paddings(1, 1, 1, 1), "one axis", "channels_last", torch.float64, 12),
    # Small images, as many together as the micro-kernel has rows and fewer: panels and parts of them.
    Case(17, 1, 100, 50, 1, 9, (8, 8), (1, 1), Paddings(0, 0, 0, 0), "near", "channels_last", torch.float32, 18),
    Case(18, 1, 60, 48, 3, 9, (7, 6), (1, 1), Paddings(1, 0, -1, 2), "far", "contiguous", torch.float32, 19),
    Case(20, 2, 96, 40, 1, 9, (9, 12), (2, 2), Paddings(0, 1, 0, 1), "integer", "channels_last", torch.float64, 20),
    Case(2, 1, 1, 5, 1, 9, (40, 33), (1, 1), Paddings(0, 0, 0, 0), "integer", "contiguous", torch.float32, 13),
]


@pytest.mark.parametrize("device", ON_CPU_AND_GPU)
@pytest.mark.parametrize(
    "case", LARGE, ids=lambda case: f"{case.images}x{case.channels}x{case.size}-{case.groups}-{case.layout}"
)
def test_parity_of_large_shapes(device: str, case: Case) -> None:
    check(case, device)
