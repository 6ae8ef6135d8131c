"""Initial shapes: where the synapses of a layer start."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

InitialShape = Literal["square", "circle", "random"] | Tensor


def centre_synapse(kernel_size: tuple[int, int]) -> int:
    """Index of the centre synapse in row-major order: that of cell (kh // 2, kw // 2)."""
    return kernel_size[0] // 2 * kernel_size[1] + kernel_size[1] // 2


def square(kernel_size: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    """The grid of an ordinary convolution.

    Returns:
        (K, 2) float32, (y, x) in pixels, row-major: cell (r, c) at dilation * ((r, c) - (kh // 2, kw // 2)).
    """
    rows, columns = (
        dilation[axis] * (torch.arange(kernel_size[axis], dtype=torch.float32) - kernel_size[axis] // 2)
        for axis in (0, 1)
    )
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)


def circle(kernel_size: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    """The grid with every ring of cells moved onto a circle, in the direction in which each cell lay.

    Returns:
        (K, 2) float32, (y, x) in pixels: a cell of the ring r (its Chebyshev distance) is at Euclidean distance r.
    """
    grid = square(kernel_size, (1, 1))
    distance = grid.norm(dim=1, keepdim=True)
    ring = grid.abs().amax(dim=1, keepdim=True)
    return torch.where(distance > 0, grid * ring / distance.clamp_min(1e-12), grid) * torch.tensor(dilation)


def random(kernel_size: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    """Uniform over the extent of the grid, the centre synapse at the centre; drawn from torch's default generator.

    Returns:
        (K, 2) float32, (y, x) in pixels.
    """
    extent = torch.tensor([dilation[axis] * kernel_size[axis] / 2 for axis in (0, 1)])
    positions = (torch.rand(math.prod(kernel_size), 2) * 2 - 1) * extent
    positions[centre_synapse(kernel_size)] = 0
    return positions


def initial_positions(
    shape: InitialShape, position_groups: int, kernel_size: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """Positions (G, K, 2) float32 for a named shape (each group alike; random: each its own) or for given positions.

    Raises:
        ValueError: the name is unknown, or given positions are not (K, 2) or (G, K, 2), or not finite.
    """
    synapses = math.prod(kernel_size)
    if isinstance(shape, Tensor):
        given = shape.detach().to(torch.float32)
        if given.dim() == 2:
            given = given.expand(position_groups, *given.shape)
        if tuple(given.shape) != (position_groups, synapses, 2):
            raise ValueError(f"shape must hold ({position_groups}, {synapses}, 2) positions, not {tuple(shape.shape)}")
        if not bool(torch.isfinite(given).all()):
            raise ValueError(f"shape {tuple(shape.shape)} must hold finite positions")
        return given.clone()
    makers = {"square": square, "circle": circle, "random": random}
    if not isinstance(shape, str) or shape not in makers:
        raise ValueError(f"shape must be square, circle, random or a tensor of positions, not {shape!r}")
    return torch.stack([makers[shape](kernel_size, dilation) for _ in range(position_groups)])
