"""The operator one corner at a time: where inf and NaN belong, which a dense kernel spreads over its whole window."""

from __future__ import annotations

import torch
from torch import Tensor

from acu_core.op.arguments import Arguments, output_size
from acu_core.verify.case import Case, Tensors


def gathered(case: Case, tensors: Tensors) -> Tensor:
    """The output in float64, without bias, for groups = 1. A corner that does not count is not read."""
    image, weight = tensors.input.double(), tensors.weight.double()
    positions = tensors.positions
    height, width = case.size
    (stride_h, stride_w), padding, _ = case.settings
    out_height, out_width = output_size(case.size, Arguments(*case.settings))
    rows = torch.arange(out_height) * stride_h - padding.top
    columns = torch.arange(out_width) * stride_w - padding.left
    floor = positions.floor()
    # In the precision of the positions: just below an integer, the fraction rounds to 1.
    fraction = (positions - floor).double()
    cell = floor.long()
    result = image.new_zeros(case.images, case.outputs, out_height, out_width)
    per_group = case.outputs // case.position_groups
    for output in range(case.outputs):
        group = output // per_group
        for synapse in range(case.synapses):
            for below, beside in ((0, 0), (0, 1), (1, 0), (1, 1)):
                down, right = fraction[group, synapse].tolist()
                coefficient = (down if below else 1 - down) * (right if beside else 1 - right)
                if coefficient == 0:
                    continue
                y = rows + cell[group, synapse, 0] + below
                x = columns + cell[group, synapse, 1] + beside
                inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]
                seen = image[:, :, y.clamp(0, height - 1)][:, :, :, x.clamp(0, width - 1)]
                products = (seen * weight[output, :, synapse, None, None]).sum(1)
                result[:, output] += coefficient * torch.where(inside, products, 0.0)
    return result
