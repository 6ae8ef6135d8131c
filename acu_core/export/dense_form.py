"""The form `dense`: one convolution, whose kernel holds each weight spread bilinearly on four cells."""

from __future__ import annotations

from torch import nn

from acu_core.export.fixed_unit import FixedUnit, filled_convolution
from acu_core.nn.window import UsedCells, used_cells
from acu_core.op.reference import dense_kernel


def dense_form(unit: FixedUnit) -> nn.Module:
    """A Conv2d over the cells in use and no others; behind a ZeroPad2d where sides are padded differently, or cropped.

    Raises ValueError when a synapse is so far out that the kernel would be huge.
    """
    rows, columns = used_cells(unit.positions, unit.paddings, tuple(unit.weight.shape[:2]))
    kernel = dense_kernel(unit.weight, unit.positions, _span(rows), _span(columns))
    kernel = kernel[:, :, :: rows.step, :: columns.step]
    alike = rows.front == rows.back >= 0 and columns.front == columns.back >= 0
    conv = filled_convolution(
        kernel,
        unit.bias,
        unit.dtype,
        groups=unit.groups,
        stride=unit.stride,
        dilation=(rows.step, columns.step),
        padding=(rows.front, columns.front) if alike else 0,
    )
    if alike:
        return conv
    return nn.Sequential(nn.ZeroPad2d((columns.front, columns.back, rows.front, rows.back)), conv)


def _span(axis: UsedCells) -> tuple[int, int]:
    return axis.first, (axis.cells - 1) * axis.step + 1
