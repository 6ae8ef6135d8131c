"""Shapes of their own for groups of outputs: values and all gradients, beside the reference in float64.

Where a processor has AMX, backward is computed from the output's side; elsewhere it takes the path of one shape, of
which the same must be true.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor

from acu_core.op import library
from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference

NO_PADDING = Paddings(0, 0, 0, 0)
NAMES = ("image", "weight", "positions", "bias")

# (images, channels, outputs, (height, width), shapes): each fills tile registers, with parts of tiles and of vectors.
SIZES = {
    "rows": (3, 40, 48, (13, 11), 4),
    "parts of a row": (1, 33, 36, (3, 400), 3),
    "small images": (20, 36, 40, (5, 6), 8),
    "an output a shape": (2, 32, 34, (12, 13), 34),
    "wide groups": (2, 60, 171, (12, 12), 3),
    "one image": (1, 64, 48, (40, 17), 6),
    "a deep product": (2, 132, 100, (12, 11), 4),
    "one shape": (2, 100, 98, (13, 11), 1),
}


def draw(size: str, padding: Paddings, kind: str) -> tuple[dict[str, Tensor], Tensor]:
    """The arguments in float64, as float32 has them, and the output's gradient."""
    images, channels, outputs, (height, width), shapes = SIZES[size]
    generator = torch.Generator().manual_seed(0)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator).double()

    positions = 1.5 * normal(shapes, 9, 2)
    if kind == "integer":
        positions = positions.round()
    if kind == "just below":
        positions = positions.round() - 1e-7
        positions[:, 0] = -1e-9
    if kind == "far":
        positions[:, ::2] *= 10
        positions[0, 1] = 1e20
    arguments = {
        "image": normal(images, channels, height, width),
        "weight": normal(outputs, channels, 9) / (9 * channels) ** 0.5,
        "positions": positions.float().double(),
        "bias": normal(outputs),
    }
    out_height, out_width = height + padding.top + padding.bottom, width + padding.left + padding.right
    return arguments, normal(images, outputs, out_height, out_width)


def compute(
    arguments: dict[str, Tensor],
    gradient: Tensor,
    padding: Paddings,
    dtype: torch.dtype,
    layout: torch.memory_format = torch.contiguous_format,
    asked: tuple[str, ...] = NAMES,
    operator: Callable[..., Tensor] = active_conv2d,
) -> dict[str, Tensor]:
    """The output, and the gradients that are asked for."""
    copies = {name: tensor.to(dtype) for name, tensor in arguments.items()}
    copies["image"] = copies["image"].contiguous(memory_format=layout)
    for name in asked:
        copies[name].requires_grad_()
    output = operator(*copies.values(), 1, padding)
    gradients = torch.autograd.grad(output, [copies[name] for name in asked], gradient.to(dtype))
    return {"output": output.detach(), **dict(zip(asked, gradients, strict=True))}


def compute_exactly(arguments: dict[str, Tensor], gradient: Tensor, padding: Paddings) -> dict[str, Tensor]:
    """The same by the reference."""
    return compute(arguments, gradient, padding, torch.float64, operator=active_conv2d_reference)


def error(mine: Tensor, exact: Tensor) -> float:
    """Root mean square, relative to that of the values."""
    scale = exact.square().mean().sqrt()
    return float((mine.double() - exact).square().mean().sqrt() / scale)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["between", "integer", "just below", "far"])
@pytest.mark.parametrize("padding", [NO_PADDING, Paddings(2, 0, 1, 3), Paddings(-1, 0, 0, -2)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients(size: str, kind: str, padding: Paddings, layout: torch.memory_format) -> None:
    arguments, gradient = draw(size, padding, kind)
    exact = compute_exactly(arguments, gradient, padding)
    found = compute(arguments, gradient, padding, torch.float32, layout)
    for name, right in exact.items():
        assert found[name].shape == right.shape
        assert error(found[name], right) < 2e-6, name


@pytest.mark.parametrize("size", SIZES)
def test_a_gradient_does_not_depend_on_which_others_are_asked_for(size: str) -> None:
    arguments, gradient = draw(size, NO_PADDING, "between")
    exact = compute_exactly(arguments, gradient, NO_PADDING)
    for count in range(1, len(NAMES)):
        for asked in combinations(NAMES, count):
            found = compute(arguments, gradient, NO_PADDING, torch.float32, torch.channels_last, asked)
            for name in asked:
                assert error(found[name], exact[name]) < 2e-6, (asked, name)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.0, 0.25), (0.25, 0.0)])
def test_a_small_gradient_beside_a_large_one_is_not_rounded_away(offset: tuple[float, float]) -> None:
    positions = torch.tensor([offset]).expand(4, 1, 2).clone().requires_grad_()
    image = torch.zeros(1, 32, 16, 16, requires_grad=True)
    weight = torch.zeros(32, 32, 1)
    weight[3, 5, 0] = 1
    gradient = torch.zeros(1, 32, 16, 16)
    # Its neighbours to all sides give nothing where the position is an integer, and nothing beyond it elsewhere.
    gradient[0, 3, 7, 7] = 1e-5
    gradient[0, 3, 7, 8] = gradient[0, 3, 8, 7] = gradient[0, 3, 7, 6] = gradient[0, 3, 6, 7] = 1e4
    output = active_conv2d(image, weight, positions)
    of_image = torch.autograd.grad(output, (image, positions), gradient)[0]
    if offset == (0.0, 0.0):
        assert of_image[0, 5, 7, 7] == pytest.approx(1e-5, rel=1e-6)
    expected = torch.autograd.grad(active_conv2d_reference(image, weight, positions), image, gradient)[0]
    torch.testing.assert_close(of_image, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.skipif("amx" not in library.supported_instruction_sets(), reason="this processor or build lacks amx")
@pytest.mark.parametrize("size", SIZES)
def test_tile_registers_compute_them(size: str) -> None:
    arguments, gradient = draw(size, NO_PADDING, "between")
    found = []
    for name in ("amx", "avx512"):
        with library.with_instruction_set(name):
            found.append(compute(arguments, gradient, NO_PADDING, torch.float32, torch.channels_last))
    for name in ("output", "image", "weight", "positions"):
        assert not torch.equal(found[0][name], found[1][name]), f"the same kernels computed {name}"
