"""Where a network looks: the receptive field of its centre unit, as weights and positions make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from acu_core.errors import UserError
from acu_core.nn.gradient_bound import GradientBound


@dataclass(frozen=True)
class ReceptiveField:
    """How much each pixel of the input can move the centre unit of the last map before global pooling, at most.

    `map` (H, W), float64 on the CPU, sums to 1; `map * total` bounds, for every image, the sum over the image's
    channels of the absolute derivatives of the unit's sum over its channels.
    """

    map: Tensor
    total: float
    centre: tuple[float, float]
    """The mean place (y, x) in input pixels, counted from the first pixel's middle."""
    radius: float
    """Root mean square distance from `centre` in input pixels: how wide the field is, wherever it lies."""
    map_size: tuple[int, int]
    """Of the last map; the unit is (h // 2, w // 2)."""


def receptive_field(
    model: nn.Module, input_shape: Sequence[int], *, positions: Mapping[str, Tensor] | None = None
) -> ReceptiveField:
    """The receptive field of any network's centre unit; see `GradientBound` for what is computed.

    Args:
        model: a network of convolutions, BatchNorm, pooling, sums and elementwise activations that takes images
            (1, C, H, W). It stays as it is.
        input_shape: (C, H, W).
        positions: (G, K, 2) by the name of an active layer, where they are not to be the network's own.

    Raises:
        UserError: the network has no last map, calls a function whose gradient has no bound, or its centre unit sees
            nothing of the image.
    """
    return field_of(GradientBound(model, input_shape), positions)


def field_of(bound: GradientBound, positions: Mapping[str, Tensor] | None = None) -> ReceptiveField:
    """`receptive_field` of a network that is looked at several times. Raises UserError as it does."""
    gradient, map_size = bound.gradient(positions)
    summed = gradient.sum(0)
    total = float(summed.sum())
    if total == 0:
        raise UserError("the centre unit of the last map sees nothing of the image: all its weights or paths are zero")
    share = summed / total
    rows, columns = (torch.arange(size, dtype=torch.float64) for size in share.shape)
    y, x = float((share.sum(1) * rows).sum()), float((share.sum(0) * columns).sum())
    square = (share * ((rows[:, None] - y) ** 2 + (columns - x) ** 2)).sum()
    return ReceptiveField(share, total, (y, x), float(square.sqrt()), map_size)
