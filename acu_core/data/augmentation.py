"""Random crops of reflected images and mirror images, drawn as a function of (seed, iteration)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
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
    batch, _, height, width = images.shape
    check_padding(padding, (height, width))
    taken = taken or range(batch)
    drawn = crop_places(
        (height, width),
        padding=padding,
        mirror=mirror,
        seed=seed,
        iteration=iteration,
        taken=taken,
        batch_size=batch_size or batch,
    )
    return cropped(images, sent(torch.from_numpy(drawn), images.device))


def check_padding(padding: int, size: tuple[int, int]) -> None:
    """Raises `UserError` when images of `size` (H, W) cannot be padded so by one reflection."""
    height, width = size
    if not 0 <= padding < min(height, width):
        raise UserError(
            f"reflection by {padding} pixels does not fit images of {height} x {width}; "
            f"choose a padding from 0 to {min(height, width) - 1}."
        )


def crop_places(
    size: tuple[int, int], *, padding: int, mirror: bool, seed: int, iteration: int, taken: range, batch_size: int
) -> npt.NDArray[np.int64]:
    """(B, H + W): for each image of `size` (H, W) the rows and then the columns that its crop is made of.

    B images are `taken` of a batch of `batch_size`; see `random_crop_and_mirror`.
    """
    height, width = size
    draw = generator_for(seed, "augmentation", iteration)
    part = slice(taken.start, taken.stop)
    shift = draw.integers(-padding, padding, size=(2, batch_size, 1), endpoint=True)[:, part]
    flip = draw.integers(0, 2 if mirror else 1, size=(batch_size, 1))[part]
    columns = np.arange(width)
    columns = np.where(flip == 1, width - 1 - columns, columns)
    rows = _reflect(np.arange(height) + shift[0], height)
    return np.concatenate([rows, _reflect(columns + shift[1], width)], axis=1)


def cropped(images: Tensor, places: Tensor) -> Tensor:
    """`images` (B, C, H, W), of each the pixels in its `places` (B, H + W), on the same device: (B, C, H, W)."""
    batch, channels, height, width = images.shape
    pixels = (places[:, :height, None] * width + places[:, None, height:]).view(batch, 1, height * width)
    found = images.reshape(batch, channels, height * width).gather(2, pixels.expand(-1, channels, -1))
    return found.view(batch, channels, height, width)


def _reflect(index: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    # Valid for one reflection, -size < index < 2 * size - 1, which padding < size ensures.
    found: npt.NDArray[np.int64] = (size - 1) - np.abs((size - 1) - np.abs(index))
    return found
