"""The window of the ordinary convolution that equals an active one."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from acu_core.op.paddings import Paddings

# A megapixel of weights for every pair of channels: beyond any image, so surely not meant.
LARGEST_WINDOW = 2**20
# A gigabyte of float32 for one layer: asking for more would end in the middle, without memory.
LARGEST_KERNEL = 2**28


class Window(NamedTuple):
    """A kernel along one axis: its first cell, relative to the centre, its number of cells, and its padding."""

    first: int
    cells: int
    padding: int


class UsedCells(NamedTuple):
    """The cells along one axis that synapses read, from the first to the last: a kernel's rows or columns.

    `step` is the pixels between two of them: more than 1 where all synapses lie on so coarse a grid. `front` and `back`
    are the padding that belongs to them, in pixels; a negative one crops.
    """

    first: int
    cells: int
    step: int
    front: int
    back: int


def _window(lowest: int, highest: int, front: int, back: int) -> Window:
    """The smallest window over the cells from `lowest` to `highest`.

    `front` and `back` are the operator's paddings. A Conv2d pads both sides alike and never crops, so cells without
    weight are added: in front until the padding is not negative, and on the side that is padded less.
    """
    # A window from `lowest` to `highest` needs front - lowest before the image and back + highest behind it.
    padding = max(front - lowest, back + highest, 0)
    return Window(front - padding, padding - back - (front - padding) + 1, padding)


def smallest_window(positions: Tensor, paddings: Paddings, pairs: tuple[int, ...]) -> tuple[Window, Window]:
    """The smallest window whose padding is symmetric and not negative, over rows and over columns.

    Args:
        positions: (G, K, 2), (y, x) in pixels, finite.
        paddings: the operator's.
        pairs: outputs and input channels of the layer: each pair needs a kernel.

    Raises:
        ValueError: a synapse is so far out that the kernels would be huge.
    """
    floor, last = reached_cells(positions)
    rows, columns = (
        _window(int(floor[..., axis].min()), int(last[..., axis].max()), front, back)
        for axis, (front, back) in enumerate(((paddings.top, paddings.bottom), (paddings.left, paddings.right)))
    )
    check_window(rows.cells, columns.cells, positions, pairs)
    return rows, columns


def used_cells(positions: Tensor, paddings: Paddings, pairs: tuple[int, ...]) -> tuple[UsedCells, UsedCells]:
    """The rows and columns of the smallest kernel, whatever padding that takes.

    Args, errors: as of `smallest_window`, whose padding is symmetric and not negative, which may take more cells.
    """
    floor, last = reached_cells(positions)

    def along(axis: int, front: int, back: int) -> UsedCells:
        reached = {int(cell) for cells in (floor, last) for cell in cells[..., axis].flatten().tolist()}
        lowest, highest = min(reached), max(reached)
        step = math.gcd(*(cell - lowest for cell in reached)) or 1
        return UsedCells(lowest, (highest - lowest) // step + 1, step, front - lowest, back + highest)

    rows = along(0, paddings.top, paddings.bottom)
    columns = along(1, paddings.left, paddings.right)
    check_window(rows.cells, columns.cells, positions, pairs)
    return rows, columns


def reached_cells(positions: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last cell that each position reads: the same where it lies on the grid."""
    floor = positions.floor()
    return floor, torch.where(positions == floor, floor, floor + 1)


def check_window(rows: int, columns: int, positions: Tensor, pairs: tuple[int, ...]) -> None:
    """Raises ValueError, which names the synapse, when kernels over such a window would be huge."""
    cells = rows * columns
    if cells > LARGEST_WINDOW or cells * math.prod(pairs) > LARGEST_KERNEL:
        y, x = positions.flatten(0, 1)[int(positions.abs().amax(-1).argmax())].tolist()
        raise ValueError(
            f"an ordinary convolution would need a window of {rows} x {columns} for each of "
            f"{' x '.join(map(str, pairs))} pairs of channels: a synapse is too far out, at (y, x) = ({y:.6g}, {x:.6g})"
        )
