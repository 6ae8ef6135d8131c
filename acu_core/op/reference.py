"""The operator in plain PyTorch: the oracle of the tests, and what runs on a device that has no kernel.

A synapse at a fractional position reads a blend of four pixels. The blend is the same everywhere, so an active
convolution *equals* an ordinary one whose kernel holds each weight spread on four neighbouring cells:

    dense[o, c, u, v] = sum_k weight[o, c, k] * along_y[k, u] * along_x[k, v]

where `along_y[k]` is 1 - f at cell floor(y_k), f at the cell below, and 0 elsewhere, with f = y_k - floor(y_k). This is
equation 4 of the paper with its bilinear interpolation (equations 5 and 6) taken out of the sum over pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acu_core.op.arguments import Padding, Pair, check_arguments, output_size


def spread(positions: Tensor, first: int, cells: int) -> Tensor:
    """Each position along one axis, spread on its two cells.

    Args:
        positions: (...,), in pixels.
        first: the cell with index 0 in the result.
        cells: how many there are.

    Returns:
        (..., cells). Cells out of range are dropped. The derivative at an integer position is the right-hand one,
        because the floor is a constant there and the fraction is 0: a network that starts on the grid must move.
    """
    floor = positions.detach().floor()
    fraction = (positions - floor).unsqueeze(-1)
    offset = torch.arange(first, first + cells, device=positions.device, dtype=positions.dtype) - floor.unsqueeze(-1)
    return torch.where(offset == 0, 1 - fraction, 0) + torch.where(offset == 1, fraction, 0) + 0 * fraction


def _window(positions: Tensor, lowest: int, highest: int) -> tuple[int, int]:
    """The first cell and the number of cells that hold all positions, within the cells that can meet the image."""
    floor = positions.detach().nan_to_num(0.0).clamp(lowest - 1, highest).floor()
    first = max(int(floor.min()), lowest)
    last = min(int(floor.max()) + 1, highest)
    return (first, last - first + 1) if last >= first else (lowest, 1)


def dense_kernel(weight: Tensor, positions: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """The kernel of the ordinary convolution that equals the active one.

    Args:
        weight: (O, C/groups, K).
        positions: (G, K, 2), (y, x) in pixels.
        rows: first row and number of rows of the kernel, relative to the centre.
        columns: likewise.

    Returns:
        (O, C/groups, rows, columns).
    """
    out_channels, channels, synapses = weight.shape
    groups = positions.shape[0]
    along_y = spread(positions[..., 0], *rows)
    along_x = spread(positions[..., 1], *columns)
    by_group = weight.reshape(groups, out_channels // groups, channels, synapses)
    kernel = torch.einsum("gock,gku,gkv->gocuv", by_group, along_y, along_x)
    return kernel.reshape(out_channels, channels, rows[1], columns[1])


def active_conv2d_reference(
    input: Tensor,
    weight: Tensor,
    positions: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    groups: int = 1,
) -> Tensor:
    """`active_conv2d` by way of a dense kernel, differentiable by autograd. Arguments and result as there.

    The kernel is cut to the cells that can meet the image, so that a synapse far outside costs nothing and gives 0. A
    dense kernel multiplies every pixel in its window, so one inf in the image reaches more outputs than it should.
    """
    arguments = check_arguments(input, weight, positions, bias, stride, padding, groups)
    if positions.device.type == "cpu" and not bool(torch.isfinite(positions).all()):
        raise ValueError(f"positions {tuple(positions.shape)} must be finite")
    stride_h, stride_w = arguments.stride
    top, left = arguments.padding.top, arguments.padding.left
    height, width = input.shape[-2:]
    out_height, out_width = output_size((height, width), arguments)

    positions = positions.to(weight.dtype if weight.dtype == torch.float64 else torch.float32)
    last_row, last_column = (out_height - 1) * stride_h - top, (out_width - 1) * stride_w - left
    rows = _window(positions[..., 0], -last_row, height - 1 + top)
    columns = _window(positions[..., 1], -last_column, width - 1 + left)
    kernel = dense_kernel(weight.to(positions.dtype), positions, rows, columns)
    # From the first cell of the first output to the last cell of the last one; negative means cropped.
    padded = F.pad(
        input.to(positions.dtype),
        (
            left - columns[0],
            last_column + columns[0] + columns[1] - width,
            top - rows[0],
            last_row + rows[0] + rows[1] - height,
        ),
    )
    output = F.conv2d(
        padded, kernel, None if bias is None else bias.to(positions.dtype), (stride_h, stride_w), groups=groups
    )
    return output.to(input.dtype)
