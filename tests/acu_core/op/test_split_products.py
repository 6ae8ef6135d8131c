"""Kernels that multiply floats in parts of 16 bits: no less exact than others, to which they leave inf and NaN."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from acu_core.op import library
from acu_core.op.functional import active_conv2d

pytestmark = pytest.mark.skipif(
    "amx" not in library.supported_instruction_sets(), reason="this processor or build lacks amx"
)

Tensors = tuple[Tensor, Tensor, Tensor, Tensor]


def draw(channels: int = 52, outputs: int = 40, size: int = 9, synapses: int = 9, shapes: int = 1) -> Tensors:
    """Image (5, C, S, S), weight, positions, and the output's gradient; 52 and 40 channels fill no step and no tile."""
    torch.manual_seed(0)
    positions = torch.randn(shapes, synapses, 2)
    return (
        torch.randn(5, channels, size, size),
        torch.randn(outputs, channels, synapses) / math.sqrt(channels * synapses),
        positions,
        torch.randn(5, outputs, size, size),
    )


def results(instruction_set: str, tensors: Tensors, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Output, and the gradients of image, weight and positions."""
    image, weight, positions = (tensor.to(dtype).clone().requires_grad_() for tensor in tensors[:3])
    with library.with_instruction_set(instruction_set):
        output = active_conv2d(image, weight, positions)
        output.backward(tensors[3].to(dtype))
    gradients = [tensor.grad for tensor in (image, weight, positions)]
    assert all(gradient is not None for gradient in gradients)
    return [output.detach(), *(gradient for gradient in gradients if gradient is not None)]


def error(values: Tensor, exact: Tensor) -> float:
    """Root mean square, relative to that of the values."""
    return float((values.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def many_sizes(tensor: Tensor) -> Tensor:
    return tensor * 10 ** (8 * torch.rand(tensor.shape) - 4)


@pytest.mark.parametrize("change", [torch.clone, torch.abs, many_sizes], ids=["normal", "positive", "of many sizes"])
@pytest.mark.parametrize(
    ("channels", "outputs", "shapes"),
    [
        (32, 32, 1),
        (52, 40, 1),
        (96, 33, 1),
        (33, 64, 1),
        (120, 104, 1),
        (52, 64, 2),
        (52, 40, 4),
        (33, 48, 3),
        (80, 36, 36),
    ],
)
def test_no_less_exact_than_products_of_floats(
    change: Callable[[Tensor], Tensor], channels: int, outputs: int, shapes: int
) -> None:
    image, weight, positions, gradient = draw(channels, outputs, shapes=shapes)
    tensors = (change(image), change(weight), positions, change(gradient))
    exact = results("avx512", tensors, torch.float64)
    split, plain = results("amx", tensors), results("avx512", tensors)
    # Of the positions only that it is small: what it is sums few numbers of either sign.
    for i, (mine, theirs, right) in enumerate(zip(split[:3], plain[:3], exact[:3], strict=True)):
        # With more than two shapes the image's gradient sums products of blends that have been rounded before.
        rounding = 2.0**-22 if i == 1 and shapes > 2 else 2.0**-23
        assert error(mine, right) <= max(error(theirs, right), rounding)
    assert error(split[3], exact[3]) < 1e-5
    assert not torch.equal(split[0], plain[0]), "the same kernels computed both"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("where", [0, 1, 3], ids=["image", "weight", "gradient"])
@pytest.mark.parametrize("shapes", [1, 4])
def test_what_is_not_finite_goes_to_the_other_kernels(value: float, where: int, shapes: int) -> None:
    tensors = draw(shapes=shapes)
    finite = results("amx", tensors)
    tensors[where].view(-1)[77] = value
    split, plain = results("amx", tensors), results("avx512", tensors)
    for i, (mine, theirs) in enumerate(zip(split, plain, strict=True)):
        if where == 3 and i == 0:
            assert torch.equal(mine, finite[0]), "forward does not meet the gradient"
            continue
        assert mine.isfinite().all() == (i == where + 1), "in all but its own gradient"
        assert torch.equal(mine.isnan(), theirs.isnan())
        assert torch.equal(mine.nan_to_num(), theirs.nan_to_num())


@pytest.mark.parametrize(
    "learned", ["image weight", "weight positions", "image positions", "positions", "weight", "image"]
)
@pytest.mark.parametrize("where", ["gradient", "image"])
@pytest.mark.parametrize("shapes", [1, 4])
def test_what_is_not_finite_is_seen_whatever_is_learned(learned: str, where: str, shapes: int) -> None:
    image, weight, positions, gradient = draw(shapes=shapes)
    (gradient if where == "gradient" else image)[2, 3, 4, 5] = math.inf
    found = []
    for name in ("amx", "avx512"):
        inputs = {"image": image.clone(), "weight": weight.clone(), "positions": positions.clone()}
        asked = [tensor.requires_grad_() for key, tensor in inputs.items() if key in learned]
        with library.with_instruction_set(name):
            output = active_conv2d(*inputs.values())
            found.append(torch.autograd.grad(output, asked, gradient))
    for name, mine, theirs in zip([key for key in inputs if key in learned], *found, strict=True):
        if (name, where) == ("image", "image"):
            # It does not meet what is not finite, so either kernels may compute it.
            assert mine.isfinite().all()
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
            continue
        assert not mine.isfinite().all()
        assert torch.equal(mine.nan_to_num(), theirs.nan_to_num())
        assert torch.equal(mine.isnan(), theirs.isnan())


@pytest.mark.parametrize("where", [0, 1, 3], ids=["image", "weight", "gradient"])
@pytest.mark.parametrize("shapes", [1, 4])
def test_numbers_that_round_to_inf_go_to_the_other_kernels(where: int, shapes: int) -> None:
    image, weight, positions, gradient = draw(shapes=shapes)
    tensors = [image * 1e-2, weight * 1e-2, positions, gradient * 1e-2]
    tensors[where].view(-1)[77] = 3.4e38
    found = []
    for name in ("amx", "avx512"):
        # The weight is frozen: nothing else looks at products with the gradient.
        inputs = (tensors[0].clone().requires_grad_(), tensors[1], tensors[2].clone().requires_grad_())
        with library.with_instruction_set(name):
            output = active_conv2d(*inputs)
            found.append([output, *torch.autograd.grad(output, (inputs[0], inputs[2]), tensors[3])])
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine.isfinite(), theirs.isfinite())
        assert not mine.isnan().any()


def test_sums_that_overflow_do_so_as_with_floats() -> None:
    image, weight, positions, gradient = draw()
    tensors = (image * 1e38, weight.abs() * 10, positions, gradient)
    split, plain = results("amx", tensors), results("avx512", tensors)
    assert plain[0].isinf().any()
    assert plain[0].isfinite().any()
    assert torch.equal(split[0].nan_to_num(), plain[0].nan_to_num())


def test_small_numbers_lose_no_more_than_what_is_flushed() -> None:
    image, weight, positions, gradient = draw()
    tensors = (image * 1e-36, weight, positions, gradient * 1e-36)
    exact = results("avx512", tensors, torch.float64)
    for mine, right in zip(results("amx", tensors)[:3], exact[:3], strict=True):
        # Each of 500 products of parts may be flushed below the smallest normal number.
        torch.testing.assert_close(mine.double(), right, rtol=1e-5, atol=500 * 3 * torch.finfo(torch.float32).tiny)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_go_to_the_other_kernels(dtype: torch.dtype) -> None:
    image, weight, positions, gradient = draw()
    found = []
    for name in ("amx", "avx512"):
        inputs = [tensor.clone().requires_grad_() for tensor in (image.to(dtype), weight.to(dtype), positions)]
        with library.with_instruction_set(name):
            output = active_conv2d(*inputs)
            found.append([output, *torch.autograd.grad(output, inputs, gradient.to(dtype))])
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine, theirs)


def test_what_does_not_fill_tiles_goes_to_the_other_kernels() -> None:
    for channels, outputs, size in ((31, 40, 9), (40, 31, 9), (40, 40, 7)):
        tensors = draw(channels, outputs, size)
        for mine, theirs in zip(results("amx", tensors), results("avx512", tensors), strict=True):
            assert torch.equal(mine, theirs)
