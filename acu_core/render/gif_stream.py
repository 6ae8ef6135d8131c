"""GIF written for drawings in which little moves: one palette, and only the pixels that changed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import GifImagePlugin, Image

from acu_core.render.colours import Theme

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.uint8]

_COLOURS = 112
_TRANSPARENT = 255
# A pixel keeps what it shows while the wanted colour is this close (of 255, in every channel): the soft edges of lines
# that creep would otherwise be most of the file. Never on resting colours, so that nothing leaves a smudge.
_TOLERANCE = 16


def write_gif(frames: Iterable[Pixels], samples: Sequence[Pixels], milliseconds: Sequence[int], theme: Theme) -> bytes:
    """An endlessly repeated GIF of RGB frames (H, W, 3), each shown for its `milliseconds`.

    `samples` are some of the frames; the palette is made of their colours and the theme's. No dithering: flat areas
    stay flat.
    """
    palette = _Palette(samples, theme)
    height, width = samples[0].shape[:2]
    parts = [
        b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + palette.table,
        b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00",
    ]
    shown: Indices | None = None
    for pixels, duration in zip(frames, milliseconds, strict=True):
        wanted = palette.indices(pixels)
        kept = np.zeros(wanted.shape, bool) if shown is None else palette.keep(shown, wanted)
        shown = wanted if shown is None else np.where(kept, shown, wanted)
        parts += _frame(shown, kept, duration)
    return b"".join([*parts, b";"])


def _frame(shown: Indices, kept: npt.NDArray[np.bool_], milliseconds: int) -> Iterator[bytes]:
    rows, columns = np.flatnonzero(~kept.all(axis=1)), np.flatnonzero(~kept.all(axis=0))
    # A frame without any change still takes its time, so it is one pixel that repeats itself.
    top, bottom = (rows[0], rows[-1] + 1) if len(rows) else (0, 1)
    left, right = (columns[0], columns[-1] + 1) if len(columns) else (0, 1)
    part = np.where(kept, np.uint8(_TRANSPARENT), shown)[top:bottom, left:right]
    image = Image.fromarray(np.ascontiguousarray(part))
    return iter(
        GifImagePlugin.getdata(
            image,
            (int(left), int(top)),
            duration=milliseconds,
            transparency=_TRANSPARENT,
            disposal=1,
            interlace=0,
        )
    )


class _Palette:
    def __init__(self, samples: Sequence[Pixels], theme: Theme) -> None:
        kept = np.round(np.asarray(theme.resting + theme.accents) * 255).astype(np.uint8)
        self._resting = len(theme.resting)
        rgb = np.concatenate([kept, _common_colours(samples, _COLOURS - len(kept))])
        self._rgb = rgb.astype(np.int32)
        self.table = np.concatenate([rgb, np.zeros((256 - len(rgb), 3), np.uint8)]).tobytes()
        distance = np.abs(self._rgb[:, None] - self._rgb[None]).max(axis=-1)
        self._close = distance <= _TOLERANCE
        self._close[:, : self._resting] = False
        np.fill_diagonal(self._close, True)
        # The nearest palette entry of every colour met so far.
        self._nearest = np.full(1 << 24, _TRANSPARENT, np.uint8)

    def indices(self, pixels: Pixels) -> Indices:
        """The nearest palette entry for RGB (H, W, 3): (H, W)."""
        packed = _pack(pixels)
        found: Indices = self._nearest[packed]
        new = np.unique(packed[found == _TRANSPARENT])
        if len(new):
            rgb = np.stack([new >> 16, new >> 8 & 255, new & 255], axis=-1).astype(np.int32)
            distance = np.square(rgb[:, None] - self._rgb[None]).sum(axis=-1)
            self._nearest[new] = distance.argmin(axis=-1).astype(np.uint8)
            found = self._nearest[packed]
        return found

    def keep(self, shown: Indices, wanted: Indices) -> npt.NDArray[np.bool_]:
        """Which pixels may stay as they are."""
        kept: npt.NDArray[np.bool_] = self._close[shown, wanted]
        return kept


def _common_colours(samples: Sequence[Pixels], count: int) -> Pixels:
    found, counts = np.unique(np.concatenate([_pack(p).ravel() for p in samples]), return_counts=True)
    # Rare colours count by their square root, or paper and panels would take most of the palette.
    weighted = np.repeat(found, np.clip(np.sqrt(counts), 1, 128).astype(np.int64))
    rgb = np.stack([weighted >> 16, weighted >> 8 & 255, weighted & 255], axis=-1).astype(np.uint8)
    reduced = Image.fromarray(rgb[None]).quantize(count, Image.Quantize.MEDIANCUT, kmeans=1).getpalette()
    return np.array(reduced, np.uint8).reshape(-1, 3)[:count]


def _pack(pixels: Pixels) -> npt.NDArray[np.uint32]:
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in (0, 1, 2))
    return (red << 16 | green << 8 | blue).astype(np.uint32)
