"""An animated PNG, frame by frame: Pillow writes them too, but holds every frame of it in memory until the last."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from acu_core.render.packed_pixels import Packed, Pixels, pack

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BITS, _RGBA = 8, 6
_KEEP, _OVER = 0, 1
_OPAQUE = np.uint32(0xFF000000)


def write_apng(frames: Iterator[Pixels], count: int, milliseconds: Sequence[int]) -> bytes:
    """An endlessly repeated APNG of `count` RGB frames (H, W, 3), each shown for its `milliseconds`; nothing is lost.

    Of each frame only the pixels that changed are in the file, over transparent ones that leave what is shown. A frame
    is compressed while the next one is drawn.
    """
    parts: list[bytes] = [_SIGNATURE]
    waiting: deque[tuple[bytes, Future[bytes]]] = deque()
    shown: Packed | None = None
    # Every animation chunk has a number: one for each frame's place and time, one for the pixels of all but the first.
    numbers = itertools.count()

    def write_next() -> None:
        control, compressed = waiting.popleft()
        number = next(numbers)
        parts.append(_chunk(b"fcTL", struct.pack(">I", number) + control))
        if number == 0:
            parts.append(_chunk(b"IDAT", compressed.result()))
        else:
            parts.append(_chunk(b"fdAT", struct.pack(">I", next(numbers)) + compressed.result()))

    with ThreadPoolExecutor(1) as compressor:
        for pixels, duration in zip(frames, milliseconds, strict=True):
            packed = pack(pixels)
            height, width = packed.shape
            if shown is None:
                parts.append(_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, _EIGHT_BITS, _RGBA, 0, 0, 0)))
                parts.append(_chunk(b"acTL", struct.pack(">II", count, 0)))
            changed = np.ones(packed.shape, np.bool_) if shown is None else packed != shown
            # A frame without any change still takes its time, so it is one transparent pixel.
            (top, bottom), (left, right) = (_range(np.asarray(changed.any(axis=axis))) for axis in (1, 0))
            place = struct.pack(">IIII", right - left, bottom - top, left, top)
            control = place + struct.pack(">HHBB", duration, 1000, _KEEP, _OVER)
            rows = _rows(packed[top:bottom, left:right], changed[top:bottom, left:right])
            waiting.append((control, compressor.submit(zlib.compress, rows, 6)))
            if len(waiting) > 1:
                write_next()
            shown = packed
        write_next()
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _range(used: npt.NDArray[np.bool_]) -> tuple[int, int]:
    places = np.flatnonzero(used)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 1)


def _rows(packed: Packed, changed: npt.NDArray[np.bool_]) -> memoryview:
    """The rows of an RGBA image, each after a byte that says how it is filtered: not at all."""
    height, width = packed.shape
    opaque = np.where(changed, packed | _OPAQUE, np.uint32(0)).astype("<u4", copy=False)
    rows = np.zeros((height, 1 + 4 * width), np.uint8)
    rows[:, 1:] = opaque.view(np.uint8).reshape(height, -1)
    return rows.data


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
