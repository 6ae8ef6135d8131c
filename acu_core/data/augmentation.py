"""Random crops of reflected images and mirror images, drawn as a function of (seed, iteration)."""

from __future__ import annotations

import torch
from torch import Tensor

from acu_core.data.device_copy import sent
from acu_core.data.randomness import generator_for
from acu_core.errors import UserError


def random_crop_and_mirror(
    images: Tensor,
    *,
    padding: int = 4,
    mirror: bool = True,
    seed: int,
    iteration: int,
    taken: range | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """(B, C, H, W) -> (B, C, H, W), same dtype and device: each image padded by reflection, cropped, mirrored or not.

    Every image gets one of the (2 * padding + 1)**2 crops, and with `mirror` is flipped left to right half of the time.
    Reflection does not repeat the border (NumPy's "reflect"). The draw is a pure function of (seed, iteration) and B,
    the same on every device; the padded images are never made, only indexed. Where the images are the rows `taken` of a
    batch of `batch_size`, they get the draws of those rows.

    Raises `UserError` when padding is negative or not smaller than the image.
    """
    if images.ndim != 4:
        raise UserError(f"images must be (B, C, H, W), got a tensor of shape {tuple(images.shape)}.")
    batch, channels, height, width = images.shape
    if not 0 <= padding < min(height, width):
        raise UserError(
            f"reflection by {padding} pixels does not fit images of {height} x {width}; "
            f"choose a padding from 0 to {min(height, width) - 1}."
        )
    draw = generator_for(seed, "augmentation", iteration)
    drawn, part = batch_size or batch, slice(taken.start, taken.stop) if taken is not None else slice(0, batch)
    shift = torch.from_numpy(draw.integers(-padding, padding, size=(2, drawn, 1), endpoint=True))[:, part]
    flip = torch.from_numpy(draw.integers(0, 2 if mirror else 1, size=(drawn, 1)))[part]
    columns = torch.arange(width)
    columns = torch.where(flip == 1, width - 1 - columns, columns)
    rows = _reflect(torch.arange(height) + shift[0], height)
    columns = _reflect(columns + shift[1], width)
    pixels = sent((rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width), images.device)
    cropped = images.reshape(batch, channels, height * width).gather(2, pixels.expand(-1, channels, -1))
    return cropped.view(batch, channels, height, width)


def _reflect(index: Tensor, size: int) -> Tensor:
    # Valid for one reflection, -size < index < 2 * size - 1, which padding < size ensures.
    return (size - 1) - ((size - 1) - index.abs()).abs()
