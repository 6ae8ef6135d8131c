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
    return filled_convolution(
        kernel,
        unit.bias,
        unit.dtype,
        stride=unit.stride,
        dilation=(rows.step, columns.step),
        groups=unit.groups,
        rows=(rows.front, rows.back),
        columns=(columns.front, columns.back),
    )


def _span(axis: UsedCells) -> tuple[int, int]:
    return axis.first, (axis.cells - 1) * axis.step + 1
