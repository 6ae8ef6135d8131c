"""Pixels as one number each, which is what makes looking for changes and colours quick."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Packed = npt.NDArray[np.uint32]


def pack(pixels: Pixels) -> Packed:
    """RGB (H, W, 3) to one number a pixel, (H, W): red in the lowest byte, then green, blue and anything.

    The highest byte is the same in all pixels of all frames that are drawn alike.
    """
    packed: Packed
    whole = _whole(pixels)
    if whole is not None:
        packed = whole.view("<u4")[..., 0]
        return packed
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in (0, 1, 2))
    packed = red | green << np.uint32(8) | blue << np.uint32(16)
    return packed


def unpack(packed: Packed) -> Pixels:
    """Packed pixels (N,) to RGB (N, 3)."""
    return np.stack([packed & 255, packed >> 8 & 255, packed >> 16 & 255], axis=-1).astype(np.uint8)


def four_bytes(pixels: Pixels) -> Pixels:
    """RGB (H, W, 3) with a fourth byte that nobody looks at, (H, W, 4)."""
    whole = _whole(pixels)
    return np.concatenate([pixels, pixels[..., :1]], axis=2) if whole is None else whole


def _whole(pixels: Pixels) -> Pixels | None:
    """The four bytes a pixel, as Agg draws them, of which `pixels` are a view of the first three."""
    whole = pixels.base
    if not isinstance(whole, np.ndarray) or whole.dtype != pixels.dtype or whole.shape != (*pixels.shape[:2], 4):
        return None
    same = whole.flags.c_contiguous and whole.strides == pixels.strides and whole.ctypes.data == pixels.ctypes.data
    return whole if same else None
