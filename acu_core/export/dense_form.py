"""The form `dense`: one convolution, whose kernel holds each weight spread bilinearly on four cells."""

from __future__ import annotations

from torch import nn

from acu_core.export.fixed_unit import FixedUnit, filled_convolution
from acu_core.nn.window import used_cells
from acu_core.op.reference import dense_kernel


def dense_form(unit: FixedUnit) -> nn.Module:
    """A Conv2d over the cells in use and no others; behind a ZeroPad2d where sides are padded differently, or cropped.

    Raises ValueError when a synapse is so far out that the kernel would be huge.
    """
    rows, columns = used_cells(unit.positions, unit.paddings, tuple(unit.weight.shape[:2]))
    positions, spans = unit.positions.clone(), []
    for axis, used in enumerate((rows, columns)):
        if used.step == 1:
            spans.append((used.first, used.cells))
            continue
        # All lie on the coarse grid, so this is exact; over all pixels the kernel might not fit into the memory.
        positions[..., axis] = (positions[..., axis] - used.first) / used.step
        spans.append((0, used.cells))
    kernel = dense_kernel(unit.weight, positions, *spans)
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
