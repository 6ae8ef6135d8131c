"""A learned shape and the hidden one as characters: the picture that explains the planted data, on any terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

COLUMNS_PER_PIXEL = 4
ROWS_PER_PIXEL = 2
"""Characters are about twice as high as wide, so a pixel is drawn square."""
MOST_COLUMNS = 78
MOST_ROWS = 29
_LEGEND = "o hidden synapse   + learned synapse   * both on one spot"


def sketch(
    learned: Sequence[Sequence[float]], hidden: Sequence[Sequence[float]], *, columns: int = MOST_COLUMNS
) -> list[str]:
    """Lines of text for positions (K, 2) in (y, x): `o` hidden, `+` learned, `*` where both fall on one character.

    No line is longer than `columns`, and there are at most `MOST_ROWS` of them and a legend. A synapse beyond that is
    an arrow at the edge, `<`, `>`, `^` or `v`, and is counted below.
    """
    columns = min(columns, MOST_COLUMNS)
    reach = max([1.0, *(abs(value) for shape in (learned, hidden) for point in shape for value in point)])
    down = round(min(reach * ROWS_PER_PIXEL, (MOST_ROWS - 1) // 2))
    across = round(min(reach * COLUMNS_PER_PIXEL, max(COLUMNS_PER_PIXEL, (columns - 1) // 2)))
    cells = [[" "] * (2 * across + 1) for _ in range(2 * down + 1)]
    beyond = 0
    for mark, shape in (("o", hidden), ("+", learned)):
        for y, x in shape:
            # Compared before they are rounded: a position may be larger than any integer should be.
            row, column = y * ROWS_PER_PIXEL, x * COLUMNS_PER_PIXEL
            arrow = "<" if column < -across - 0.5 else ">" if column > across + 0.5 else ""
            arrow = arrow or ("^" if row < -down - 0.5 else "v" if row > down + 0.5 else "")
            i, j = (limit + round(min(max(value, -limit), limit)) for value, limit in ((row, down), (column, across)))
            if arrow:
                beyond += 1
                cells[i][j] = arrow
            else:
                cells[i][j] = "*" if cells[i][j] not in (" ", mark) else mark
    lines = ["".join(row).rstrip() for row in cells]
    legend = _LEGEND if not beyond else f"{_LEGEND}   <>^v beyond the edge: {beyond}"
    return [*lines, *textwrap.wrap(legend, max(columns, 20))]
