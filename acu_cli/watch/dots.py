"""Dots finer than characters: a braille character holds two across and four down."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ACROSS, DOWN = 2, 4
BRAILLE = 0x2800
# By the dot's place (down, across), as the characters are numbered.
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)

Cells = npt.NDArray[np.uint8]
"""The dots of each character, as bits."""


def set_dots(cells: Cells, picture: npt.NDArray[np.int64], y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> None:
    """Sets dots (N,) in pictures (L, R, C) of characters; those beyond the edges are left out."""
    _, rows, columns = cells.shape
    inside = (y >= 0) & (y < rows * DOWN) & (x >= 0) & (x < columns * ACROSS)
    if not inside.all():
        picture, y, x = picture[inside], y[inside], x[inside]
    np.bitwise_or.at(cells, (picture, y // DOWN, x // ACROSS), _BITS[y % DOWN, x % ACROSS])


def characters(cells: Cells, ascii_mark: str | None = None) -> npt.NDArray[np.uint32]:
    """The characters; where a mark is given, that instead of every one that has a dot."""
    drawn = np.full(cells.shape, ord(ascii_mark), np.uint32) if ascii_mark else cells.astype(np.uint32) + BRAILLE
    return np.where(cells > 0, drawn, np.uint32(ord(" ")))
