"""GIF written for drawings in which little moves: one palette, and only the pixels that changed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import GifImagePlugin, Image

from acu_core.render.colours import Theme
from acu_core.render.packed_pixels import Packed, Pixels, pack, unpack

Indices = npt.NDArray[np.uint8]

_COLOURS = 112
_TRANSPARENT = 255
_COLOUR = np.uint32(0xFFFFFF)
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
    screen: _Screen | None = None
    for pixels, duration in zip(frames, milliseconds, strict=True):
        if screen is None:
            screen = _Screen(palette, pack(pixels))
            part, corner = screen.shown, (0, 0)
        else:
            part, corner = screen.show(pack(pixels))
        parts += GifImagePlugin.getdata(
            Image.fromarray(part), corner, duration=duration, transparency=_TRANSPARENT, disposal=1, interlace=0
        )
    return b"".join([*parts, b";"])


class _Screen:
    """What a viewer shows, (H, W) palette entries. Only pixels that differ from the frame before are looked at."""

    def __init__(self, palette: _Palette, packed: Packed) -> None:
        self._palette = palette
        self._packed = packed
        self.shown = palette.indices(packed)
        self._part = np.full(packed.shape, _TRANSPARENT, np.uint8)

    def show(self, packed: Packed) -> tuple[Indices, tuple[int, int]]:
        """Goes on to a frame: the rectangle that the file needs for it, and its left and top."""
        changed = np.flatnonzero(packed != self._packed)
        self._packed = packed
        wanted = self._palette.indices(packed.reshape(-1)[changed])
        shown = self.shown.reshape(-1)
        new = ~self._palette.close[shown[changed], wanted]
        places, wanted = changed[new], wanted[new]
        shown[places] = wanted
        self._part.fill(_TRANSPARENT)
        if not len(places):
            # A frame without any change still takes its time, so it is one pixel that changes nothing.
            return self._part[:1, :1], (0, 0)
        # Not by `divmod`, whose remainder takes as long as all the rest.
        rows = places // packed.shape[1]
        columns = places - rows * packed.shape[1]
        left, right, top, bottom = columns.min(), columns.max() + 1, rows[0], rows[-1] + 1
        self._part.reshape(-1)[places] = wanted
        return np.ascontiguousarray(self._part[top:bottom, left:right]), (int(left), int(top))


class _Palette:
    """The colours of a GIF, at most 256, and which of them may stand for each other."""

    def __init__(self, samples: Sequence[Pixels], theme: Theme) -> None:
        kept = np.round(np.asarray(theme.resting + theme.accents) * 255).astype(np.uint8)
        self._resting = len(theme.resting)
        rgb = np.concatenate([kept, _common_colours(samples, _COLOURS - len(kept))])
        self._rgb = rgb.astype(np.int32)
        self.table = np.concatenate([rgb, np.zeros((256 - len(rgb), 3), np.uint8)]).tobytes()
        distance = np.abs(self._rgb[:, None] - self._rgb[None]).max(axis=-1)
        self.close: npt.NDArray[np.bool_] = distance <= _TOLERANCE
        """Whether a pixel that shows the first may stay as it is where the second is wanted."""
        self.close[:, : self._resting] = False
        np.fill_diagonal(self.close, True)
        # The nearest palette entry of every colour met so far.
        self._nearest = np.full(1 << 24, _TRANSPARENT, np.uint8)

    def indices(self, packed: Packed) -> Indices:
        """The nearest palette entry for each colour (...)."""
        packed = packed & _COLOUR
        found: Indices = self._nearest[packed]
        unknown = found == _TRANSPARENT
        if unknown.any():
            new = np.unique(packed[unknown])
            distance = np.square(unpack(new).astype(np.int32)[:, None] - self._rgb[None]).sum(axis=-1)
            self._nearest[new] = distance.argmin(axis=-1).astype(np.uint8)
            found = self._nearest[packed]
        return found


def _common_colours(samples: Sequence[Pixels], count: int) -> Pixels:
    packed = np.concatenate([pack(pixels).reshape(-1) for pixels in samples])
    # Runs of one colour first: a picture is mostly those, and sorting all its pixels took longer than drawing it.
    starts = np.flatnonzero(np.concatenate([[True], packed[1:] != packed[:-1]]))
    found, run = np.unique(packed[starts], return_inverse=True)
    counts = np.bincount(run, weights=np.diff(starts, append=len(packed)))
    # Rare colours count by their square root, or paper and panels would take most of the palette.
    weighted = np.repeat(found, np.clip(np.sqrt(counts), 1, 128).astype(np.int64))
    reduced = Image.fromarray(unpack(weighted)[None]).quantize(count, Image.Quantize.MEDIANCUT, kmeans=1).getpalette()
    return np.array(reduced, np.uint8).reshape(-1, 3)[:count]
