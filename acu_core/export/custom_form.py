"""The form `custom`: acu's own operator, for those who load the file beside acu."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acu_core.export.fixed_unit import FixedUnit
from acu_core.op.functional import active_conv2d


class CustomForm(nn.Module):
    """The unit as it was trained: bilinear interpolation, then one product.

    Shapes: (N, C, H, W) to (N, O, H', W').
    """

    positions: Tensor

    def __init__(self, unit: FixedUnit) -> None:
        super().__init__()
        self.weight = nn.Parameter(unit.weight.to(unit.dtype), requires_grad=False)
        precision = torch.float64 if unit.dtype == torch.float64 else torch.float32
        self.register_buffer("positions", unit.positions.to(precision))
        self.bias = None if unit.bias is None else nn.Parameter(unit.bias, requires_grad=False)
        self._settings = (unit.stride, unit.paddings, unit.groups)

    def forward(self, images: Tensor) -> Tensor:
        """The operator's output."""
        return active_conv2d(images, self.weight, self.positions, self.bias, *self._settings)
