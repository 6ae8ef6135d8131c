"""GIF written for drawings in which little moves: one palette, and only the pixels that changed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import GifImagePlugin, Image

from acu_core.render.colours import Theme
from acu_core.render.packed_pixels import Packed, Pixels, pack, unpack

Indices = npt.NDArray[np.uint8]

_COLOURS = 112
# Every so many rows of the samples are looked at: edges and letters are taller than that.
_SAMPLED_ROWS = 3
_TRANSPARENT = 255
GIF_END = b";"
_COLOUR = np.uint32(0xFFFFFF)
# A pixel keeps what it shows while the wanted colour is this close (of 255, in every channel): the soft edges of lines
# that creep would otherwise be most of the file. Never on resting colours, so that nothing leaves a smudge.
_TOLERANCE = 16


def gif_beginning(width: int, height: int, palette: GifPalette) -> bytes:
    """What comes before the frames of an endlessly repeated GIF; `GIF_END` comes after them."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + palette.table
    return screen + b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


def gif_frames(
    frames: Iterable[Pixels], milliseconds: Sequence[int], palette: GifPalette, before: Pixels | None
) -> Iterator[bytes]:
    """The bytes of one RGB frame (H, W, 3) after the other, each shown for its `milliseconds`.

    A frame is not looked at any more when the next one is asked for. `before` is the frame before the first, as it was
    drawn; None begins the file. The last frame is shown as exactly as the palette can, so that whoever encodes the
    frames after it need not know those before it. No dithering: flat areas stay flat.
    """
    screen = None if before is None else _Screen(palette, pack(before))
    last = len(milliseconds) - 1
    for number, (pixels, duration) in enumerate(zip(frames, milliseconds, strict=True)):
        if screen is None:
            screen = _Screen(palette, pack(pixels))
            part, corner = palette.indices(pack(pixels)), (0, 0)
        else:
            part, corner = screen.show(pack(pixels), exactly=number == last)
        yield b"".join(
            GifImagePlugin.getdata(
                Image.fromarray(part), corner, duration=duration, transparency=_TRANSPARENT, disposal=1, interlace=0
            )
        )


class _Screen:
    """What a viewer shows. Only pixels that differ from the frame before are looked at.

    At first it shows `packed` as exactly as the palette can.
    """

    def __init__(self, palette: GifPalette, packed: Packed) -> None:
        self._palette = palette
        # Of its own, for a frame may be gone when the next one comes.
        self._packed = packed.reshape(-1).copy()
        # Palette entries, of the pixels that have changed since the beginning.
        self._shown = np.full(packed.size, _TRANSPARENT, np.uint8)
        self._part: Indices = np.full(packed.shape, _TRANSPARENT, np.uint8)
        self._written = np.empty(0, np.intp)
        # Places that were left as they were, for it was close.
        self._left: list[npt.NDArray[np.intp]] = []

    def show(self, packed: Packed, *, exactly: bool) -> tuple[Indices, tuple[int, int]]:
        """Goes on to a frame: the rectangle that the file needs for it, and its left and top."""
        packed = packed.reshape(-1)
        changed = _differing(packed, self._packed)
        shown = self._shown[changed]
        first = changed[shown == _TRANSPARENT]
        self._shown[first] = self._palette.indices(self._packed[first])
        self._packed[changed] = packed[changed]
        places = np.unique(np.concatenate([changed, *self._left])) if exactly else changed
        shown = self._shown[places]
        wanted = self._palette.indices(packed[places])
        new = shown != wanted if exactly else ~self._palette.close[shown, wanted]
        if not exactly:
            self._left.append(places[~new & (shown != wanted)])
        return self._write(places[new], wanted[new])

    def _write(self, places: npt.NDArray[np.intp], wanted: Indices) -> tuple[Indices, tuple[int, int]]:
        self._part.reshape(-1)[self._written] = _TRANSPARENT
        self._written = places
        if not len(places):
            # A frame without any change still takes its time, so it is one pixel that changes nothing.
            return self._part[:1, :1], (0, 0)
        self._shown[places] = wanted
        # Not by `divmod`, whose remainder takes as long as all the rest.
        width = self._part.shape[1]
        rows = places // width
        columns = places - rows * width
        left, right, top, bottom = columns.min(), columns.max() + 1, rows[0], rows[-1] + 1
        self._part.reshape(-1)[places] = wanted
        return np.ascontiguousarray(self._part[top:bottom, left:right]), (int(left), int(top))


def _differing(packed: Packed, before: Packed) -> npt.NDArray[np.intp]:
    """Places of the pixels that differ, and of some neighbours: an even number of pixels is compared two at a time."""
    pairs = np.flatnonzero(packed.view(np.uint64) != before.view(np.uint64))
    return (2 * pairs[:, None] + np.arange(2)).reshape(-1)


class GifPalette:
    """The colours of a GIF, at most 256, and which of them may stand for each other.

    Of the colours of `samples`, some of the frames, and of the theme's.
    """

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
            self._learn(np.unique(packed[unknown]))
            found = self._nearest[packed]
        return found

    def _learn(self, colours: Packed) -> None:
        # The squared distance without what is the same for all entries; whole numbers, which float32 holds exactly.
        # No matrix product: its library would start threads, in every process that encodes.
        channels = zip(unpack(colours).astype(np.float32).T, self._rgb.astype(np.float32).T, strict=True)
        products = sum(np.multiply.outer(wanted, known) for wanted, known in channels)
        distance = np.square(self._rgb).sum(axis=-1).astype(np.float32) - 2 * products
        self._nearest[colours] = distance.argmin(axis=-1).astype(np.uint8)


def _common_colours(samples: Sequence[Pixels], count: int) -> Pixels:
    packed = np.concatenate([pack(pixels)[::_SAMPLED_ROWS].reshape(-1) for pixels in samples])
    # Runs of one colour first: a picture is mostly those, and sorting all its pixels took longer than drawing it.
    starts = np.flatnonzero(np.concatenate([[True], packed[1:] != packed[:-1]]))
    found, run = np.unique(packed[starts], return_inverse=True)
    counts = np.bincount(run, weights=np.diff(starts, append=len(packed)))
    # Rare colours count by their square root, or paper and panels would take most of the palette.
    weighted = np.repeat(found, np.clip(np.sqrt(counts), 1, 128).astype(np.int64))
    reduced = Image.fromarray(unpack(weighted)[None]).quantize(count, Image.Quantize.MEDIANCUT, kmeans=1).getpalette()
    return np.array(reduced, np.uint8).reshape(-1, 3)[:count]
