"""Independent ways to compute what the operator computes, and how two results are compared."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from acu_core.op import Paddings


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
