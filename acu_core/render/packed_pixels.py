"""Pixels as one number each, which is what makes looking for changes and colours quick."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Packed = npt.NDArray[np.uint32]


def pack(pixels: Pixels) -> Packed:
    """RGB (H, W, 3) to one number a pixel, (H, W): red in the lowest byte, then green, blue and anything.

    The highest byte is the same in all pixels of all frames that are drawn alike.
    """
    whole = pixels.base
    packed: Packed
    if isinstance(whole, np.ndarray) and _is_rgb_of(pixels, whole):
        # Three bytes of four, as Agg draws them: they are numbers already.
        packed = whole.view("<u4")[..., 0]
        return packed
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in (0, 1, 2))
    packed = red | green << np.uint32(8) | blue << np.uint32(16)
    return packed


def _is_rgb_of(pixels: Pixels, whole: npt.NDArray[Any]) -> bool:
    same = whole.dtype == pixels.dtype and whole.shape == (*pixels.shape[:2], 4) and whole.flags.c_contiguous
    return same and whole.strides == pixels.strides and whole.ctypes.data == pixels.ctypes.data


def unpack(packed: Packed) -> Pixels:
    """Packed pixels (N,) to RGB (N, 3)."""
    return np.stack([packed & 255, packed >> 8 & 255, packed >> 16 & 255], axis=-1).astype(np.uint8)
