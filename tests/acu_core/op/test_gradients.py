"""Gradients where the reference alone would not convince: finite differences, one-sided derivatives, refusals."""

from __future__ import annotations

import pytest
import torch
from oracles import relative_error

from acu_core.op import library
from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference

OPERATORS = {"compiled": active_conv2d, "reference": active_conv2d_reference}


def draw(seed: int, position_groups: int = 1, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    positions = 1.5 * torch.randn(position_groups, 5, 2, generator=generator, dtype=dtype)
    # Away from the kinks at integers, where a central difference has no meaning.
    positions = positions.floor() + 0.2 + 0.6 * (positions - positions.floor())
    return [
        torch.randn(2, 4, 6, 5, generator=generator, dtype=dtype).requires_grad_(),
        torch.randn(6, 2, 5, generator=generator, dtype=dtype).requires_grad_(),
        positions.requires_grad_(),
        torch.randn(6, generator=generator, dtype=dtype).requires_grad_(),
    ]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("position_groups", [1, 3])
def test_gradcheck(name: str, stride: int, position_groups: int) -> None:
    tensors = draw(0, position_groups)
    assert torch.autograd.gradcheck(
        lambda *t: OPERATORS[name](*t, stride, Paddings(top=1, bottom=0, left=-1, right=2), 2), tensors
    )


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("axis", [0, 1])
def test_the_derivative_at_an_integer_position_is_the_right_hand_one(name: str, axis: int) -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 2, 7, 7, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 2, 1, generator=generator, dtype=torch.float64)
    position = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64, requires_grad=True)

    def loss(at: torch.Tensor) -> torch.Tensor:
        return OPERATORS[name](image, weight, at).square().sum()

    (gradient,) = torch.autograd.grad(loss(position), position)
    step = torch.zeros(1, 1, 2, dtype=torch.float64)
    step[..., axis] = 1e-6
    right = (loss(position.detach() + step) - loss(position.detach())) / 1e-6
    left = (loss(position.detach()) - loss(position.detach() - step)) / 1e-6
    assert abs(gradient[0, 0, axis] - right) < 1e-3
    assert abs(gradient[0, 0, axis] - left) > 1e-1


def test_a_gradient_of_stride_0() -> None:
    tensors = draw(2, dtype=torch.float32)
    gradients = torch.autograd.grad(active_conv2d(*tensors, 1, 1, 2).sum(), tensors)
    ones = torch.ones_like(active_conv2d(*tensors, 1, 1, 2))
    expected = torch.autograd.grad(active_conv2d_reference(*tensors, 1, 1, 2), tensors, ones)
    for actual, right in zip(gradients, expected, strict=True):
        assert relative_error(actual, right) < 1e-5


@pytest.mark.parametrize("wanted", range(4))
def test_each_gradient_alone(wanted: int) -> None:
    tensors = draw(3)
    whole = torch.autograd.grad(active_conv2d(*tensors, 1, 0, 2).square().sum(), tensors)
    alone = [t.detach().requires_grad_(i == wanted) for i, t in enumerate(tensors)]
    (gradient,) = torch.autograd.grad(active_conv2d(*alone, 1, 0, 2).square().sum(), [alone[wanted]])
    assert torch.equal(gradient, whole[wanted])


def test_a_second_derivative_is_refused_by_name() -> None:
    tensors = draw(4)
    (gradient,) = torch.autograd.grad(active_conv2d(*tensors, 1, 0, 2).square().sum(), [tensors[1]], create_graph=True)
    with pytest.raises(NotImplementedError, match="active_conv2d has no second derivative"):
        gradient.sum().backward()


def test_no_images() -> None:
    tensors = draw(5)
    tensors[0] = torch.zeros(0, 4, 6, 5, dtype=torch.float64, requires_grad=True)
    output = active_conv2d(*tensors, 1, 0, 2)
    assert output.shape == (0, 6, 6, 5)
    for tensor, gradient in zip(tensors, torch.autograd.grad(output.sum(), tensors), strict=True):
        assert torch.equal(gradient, torch.zeros_like(tensor))


def test_the_kernels_are_compiled() -> None:
    status = library.status()
    assert status.cpu, status.cpu_error
