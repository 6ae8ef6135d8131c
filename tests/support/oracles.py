"""Independent ways to compute what the operator computes, and how two results are compared."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference


def gather(input: Tensor, weight: Tensor, positions: Tensor, stride: tuple[int, int], padding: Paddings) -> Tensor:
    """The operator pixel by pixel, reading only corners with a share: says where inf and NaN belong. groups = 1."""
    images, _, height, width = input.shape
    outputs, _, synapses = weight.shape
    top, bottom, left, right = padding
    out_height = math.floor((height + top + bottom - 1) / stride[0]) + 1
    out_width = math.floor((width + left + right - 1) / stride[1]) + 1
    result = torch.zeros(images, outputs, out_height, out_width, dtype=input.dtype)
    per_group = outputs // positions.shape[0]
    for o, i, j, k in itertools.product(range(outputs), range(out_height), range(out_width), range(synapses)):
        position = positions[o // per_group, k]
        floor_y, floor_x = (int(v) for v in position.floor())
        # In the precision of the positions: just below an integer, the fraction rounds to 1.
        fraction_y, fraction_x = (position - position.floor()).tolist()
        for corner_y, corner_x in itertools.product((0, 1), (0, 1)):
            share_y = fraction_y if corner_y else 1 - fraction_y
            share_x = fraction_x if corner_x else 1 - fraction_x
            row = i * stride[0] - top + floor_y + corner_y
            column = j * stride[1] - left + floor_x + corner_x
            if share_y * share_x != 0 and 0 <= row < height and 0 <= column < width:
                result[:, o, i, j] += share_y * share_x * (input[:, :, row, column] * weight[o, :, k]).sum(1)
    return result


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """|actual - expected| / |expected|; inf when a shape differs, or where exactly one of them is not finite."""
    if actual.shape != expected.shape:
        return math.inf
    actual, expected = actual.detach().double(), expected.detach().double()
    if not torch.equal(torch.isfinite(actual), torch.isfinite(expected)):
        return math.inf
    difference = (actual - expected).norm().item()
    # Against the size of a typical element where all expected ones cancel to nearly nothing.
    return difference / max(expected.norm().item(), 1e-3)


class Products(NamedTuple):
    """For every element of a result, the sum of the sizes of what is added up for it, each corner counting whole."""

    output: Tensor
    input: Tensor
    weight: Tensor
    positions: Tensor
    bias: Tensor


def products(
    input: Tensor,
    weight: Tensor,
    positions: Tensor,
    bias: Tensor,
    grad_output: Tensor,
    stride: tuple[int, int],
    padding: Paddings,
    groups: int,
) -> Products:
    """What rounding may leave is measured against these: 1 - fraction is rounded before or after it is multiplied.

    Next to an integer a result can be as small as that fraction, and its error is not.
    """
    input, weight, bias, sizes = (t.detach().double().abs() for t in (input, weight, bias, grad_output))
    input.requires_grad_()
    weight.requires_grad_()
    floor = positions.detach().double().floor()
    corners = itertools.product((0.0, 1.0), (0.0, 1.0))
    whole = sum(
        active_conv2d_reference(input, weight, floor + torch.tensor(corner).double(), None, stride, padding, groups)
        for corner in corners
    )
    assert isinstance(whole, Tensor)
    by_input, by_weight = torch.autograd.grad(whole, (input, weight), sizes)
    by_synapse = (weight.detach() * by_weight).sum(1).unflatten(0, (positions.shape[0], -1)).sum(1)
    return Products(
        output=whole.detach() + bias[:, None, None],
        input=by_input,
        weight=by_weight,
        positions=by_synapse.unsqueeze(-1).expand_as(positions),
        bias=sizes.sum((0, 2, 3)),
    )
