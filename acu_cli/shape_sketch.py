"""A learned shape and the hidden one as characters: the picture that explains the planted data, on any terminal."""

from __future__ import annotations

from collections.abc import Sequence

COLUMNS_PER_PIXEL = 4
ROWS_PER_PIXEL = 2
"""Characters are about twice as high as wide, so a pixel is drawn square."""


def sketch(learned: Sequence[Sequence[float]], hidden: Sequence[Sequence[float]]) -> list[str]:
    """Lines of text for positions (K, 2) in (y, x): `o` hidden, `+` learned, `*` where both fall on one character."""
    reach = max([1.0, *(abs(value) for shape in (learned, hidden) for point in shape for value in point)])
    rows, columns = round(reach * ROWS_PER_PIXEL), round(reach * COLUMNS_PER_PIXEL)
    cells = [[" "] * (2 * columns + 1) for _ in range(2 * rows + 1)]
    for mark, shape in (("o", hidden), ("+", learned)):
        for y, x in shape:
            row, column = rows + round(y * ROWS_PER_PIXEL), columns + round(x * COLUMNS_PER_PIXEL)
            cells[row][column] = "*" if cells[row][column] not in (" ", mark) else mark
    lines = ["".join(row).rstrip() for row in cells]
    return [*lines, "o hidden synapse   + learned synapse   * both on one spot"]
