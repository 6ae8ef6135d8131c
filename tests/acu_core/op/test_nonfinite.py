"""inf and NaN in the image reach exactly the outputs that they should; in positions they are refused."""

from __future__ import annotations

import math

import pytest
import torch
from gpu import needs_a_gpu
from oracles import gather

from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", ["integer", "row", "column", "fraction", "just below"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("images", "channels"), [(1, 1), (1, 9), (1, 19), (17, 50)])
@pytest.mark.parametrize("position_groups", [1, 2])
def test_it_reaches_the_outputs_that_see_it(
    value: float,
    kind: str,
    stride: tuple[int, int],
    layout: torch.memory_format,
    images: int,
    channels: int,
    position_groups: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    # Many images small enough that kernels take the same pixel of several together.
    image = torch.randn(images, channels, *((7, 8) if images == 1 else (5, 6)), generator=generator)
    image[0, channels // 2, 3, 5] = value  # a pixel that the centre of an output sees with both strides
    image[0, 0, 0, -1] = value
    image = image.contiguous(memory_format=layout)
    weight = torch.randn(2, channels, 4, generator=generator)
    positions = 1.5 * torch.randn(position_groups, 4, 2, generator=generator)
    if kind in ("integer", "row"):
        positions[..., 0] = positions[..., 0].round()
    if kind in ("integer", "column"):
        positions[..., 1] = positions[..., 1].round()
    if kind == "just below":
        positions = positions.round() - 1e-9 * torch.ones(())
        positions[:, 0] = -1e-9  # a fraction that rounds to 1
    positions[:, 1] = 0
    output = active_conv2d(image, weight, positions, None, stride, 1)
    expected = gather(image, weight, positions, stride, Paddings(1, 1, 1, 1))
    assert torch.equal(torch.isfinite(output), torch.isfinite(expected))
    assert torch.equal(torch.isnan(output), torch.isnan(expected))
    finite = torch.isfinite(expected)
    torch.testing.assert_close(output[finite], expected[finite], rtol=1e-4, atol=1e-4)
    assert not finite.all()
    assert finite.any()


# A channel that reads none of another's pixels, in kernels that take many channels together.
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", ["integer", "fraction", "just below"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("position_groups", [1, 37])
def test_it_reaches_the_pixels_of_its_own_channel(
    value: float, kind: str, stride: tuple[int, int], layout: torch.memory_format, position_groups: int
) -> None:
    channels = 37
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, channels, 7, 8, generator=generator)
    image[0, 3, 3, 5] = value
    image[1, 33, 0, 7] = value
    image[1, 36, 2, 2] = value
    image = image.contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(channels, 1, 4, generator=generator)
    weight[3, 0, 1] = 0
    positions = 1.5 * torch.randn(position_groups, 4, 2, generator=generator)
    if kind == "integer":
        positions = positions.round()
    if kind == "just below":
        positions = positions.round() - 1e-9 * torch.ones(())
        positions[:, 0] = -1e-9
    positions[:, 1] = 0
    output = active_conv2d(image, weight, positions, None, stride, 1, channels)
    shown = [0, 3, 4, 33, 36]
    # The gather knows no groups of channels: one channel at a time.
    paddings = Paddings(1, 1, 1, 1)
    alone = [
        gather(image.detach()[:, [c]], weight[[c]], positions[[c % position_groups]], stride, paddings) for c in shown
    ]
    expected = torch.cat(alone, dim=1)
    torch.testing.assert_close(output.detach()[:, shown], expected, rtol=1e-4, atol=1e-4, equal_nan=True)
    others = [c for c in range(channels) if c not in shown]
    assert torch.isfinite(output[:, others]).all()
    assert not torch.isfinite(expected[0, 1]).all()

    # Backward: the pixels that an output pixel sees with a share are those to which it gives something.
    def input_gradient(of_one_pixel: float) -> torch.Tensor:
        gradient = torch.zeros_like(output)
        gradient[0, 5, 1, 1] = of_one_pixel
        return torch.autograd.grad(output, image, gradient, retain_graph=True)[0]

    seen = input_gradient(1.0) != 0
    assert seen.any()
    assert torch.equal(~torch.isfinite(input_gradient(value)), seen)


@pytest.mark.parametrize("offset", [(0.5, 0.0), (0.0, 0.5), (0.3, 0.7)])
def test_a_blend_of_the_largest_numbers_is_finite(offset: tuple[float, float]) -> None:
    image = torch.full((1, 4, 4, 4), 3e38)
    weight = torch.zeros(1, 4, 1)
    weight[0, 0, 0] = 1
    inside = active_conv2d(image, weight, torch.tensor([[offset]]))[..., :3, :3]
    torch.testing.assert_close(inside, torch.full((1, 1, 3, 3), 3e38))


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 8])
def test_inf_in_the_gradient_of_the_output_makes_no_nan_of_its_own(channels: int) -> None:
    # Growing to the right alone: inf times a step from column to column that no channel lacks.
    image = torch.arange(5.0).expand(1, channels, 5, 5).contiguous()
    positions = torch.tensor([[[0.0, 0.3]]], requires_grad=True)
    output = active_conv2d(image, torch.ones(1, channels, 1), positions)
    gradient = torch.zeros_like(output)
    gradient[0, 0, 2, 2] = math.inf
    (grad_positions,) = torch.autograd.grad(output, positions, gradient)
    assert grad_positions[0, 0, 1] == math.inf


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("operator", [active_conv2d, active_conv2d_reference])
def test_positions_must_be_finite_on_the_cpu(value: float, operator) -> None:
    positions = torch.zeros(1, 9, 2)
    positions[0, 3, 1] = value
    with pytest.raises(ValueError, match=r"^positions \(1, 9, 2\) must be finite"):
        operator(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 9), positions)


@needs_a_gpu
def test_positions_that_are_not_finite_give_nan_on_cuda() -> None:
    positions = torch.zeros(1, 9, 2, device="cuda")
    positions[0, 3, 1] = math.nan
    output = active_conv2d(torch.ones(1, 1, 4, 4, device="cuda"), torch.ones(1, 1, 9, device="cuda"), positions)
    assert torch.isnan(output).all()
