"""Where things stand in the picture, in inches at 100 pixels an inch or more: text is legible at every width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

Place = tuple[float, float, float, float]
"""Left, bottom, width and height."""

MARGIN = 0.22
TITLE_SIZE = 13.0
TEXT_SIZE = 8.0
"""The smallest text: 11 pixels high at the default width."""
_TOP = 0.16
_TITLE_HEIGHT = 0.30
_LINE_HEIGHT = 0.22
_NAME_HEIGHT = 0.25
_ROW_GAP = 0.08
_BRACKET_HEIGHT = 0.07
_COUNT_HEIGHT = 0.42
_BAR_HEIGHT = 0.07
_BELOW_BAR = 0.27
_CURVE_HEIGHT = 0.66
_CURVE_GAP = 0.05
_CURVE_LABELS = 0.42
_BOTTOM = 0.14
_BESIDE = 0.05
_WIDTHS = {1: 4.6, 2: 6.4}
_FULL_WIDTH = 8.0
# Panels in a row: narrower ones have no room for six letters.
_MOST_ABREAST, _MOST_SIDE_BY_SIDE = 10, 12
# Panels across by rows: a little wider than high, and as wide as a slide where there are many.
_ASPECT, _WIDE_ASPECT = 1.5, 2.0
_MANY = 20


@dataclass(frozen=True)
class Layout:
    """From the top: title, lines of legend, rows of cells, and a footer with the time line and the curve.

    A cell is a layer: `abreast` square panels of side `panel` under one name. `rows` says how many cells each row has;
    `corners` are the cells' lower left corners; `brackets` are (left, right, height) over the cells of a stage.
    """

    width: float
    height: float
    panel: float
    abreast: int
    rows: tuple[int, ...]
    corners: tuple[tuple[float, float], ...]
    brackets: tuple[tuple[float, float, float], ...]
    title: float | None
    """The base line of the title."""
    lines: tuple[float, ...]
    """Those of the lines below it."""
    count: float
    """That of the iteration."""
    bar: Place
    curve: Place | None

    @property
    def cell(self) -> float:
        """The width of a cell."""
        return self.abreast * self.panel + (self.abreast - 1) * _BESIDE

    def place(self, cell: int, number: int) -> Place:
        """The panel `number` of a cell, counted from the left."""
        left, bottom = self.corners[cell]
        return left + number * (self.panel + _BESIDE), bottom, self.panel, self.panel


def narrowest_width(abreast: int) -> float:
    """The least width of a picture of so many panels in a cell: below it the words of its footer have no room."""
    return _WIDTHS.get(abreast, _FULL_WIDTH)


def picture_width(cells: int, abreast: int = 1, across: float | None = None) -> float:
    """The width of the picture for so many cells, at most `across`."""
    natural = _WIDTHS.get(max(_row_lengths([cells], abreast, _FULL_WIDTH)) * abreast, _FULL_WIDTH)
    return natural if across is None else min(natural, across)


def plan_layout(
    stages: Sequence[int],
    *,
    abreast: int = 1,
    title: bool = True,
    lines: int = 1,
    curve: bool = False,
    across: float | None = None,
) -> Layout:
    """The layout of layers in stages of so many, `abreast` panels each, with so many lines below the title.

    It is at most `across` wide: a narrower picture has shorter rows.
    """
    width = picture_width(sum(stages), abreast, across)
    rows = _row_lengths(stages, abreast, _FULL_WIDTH if across is None else min(across, _FULL_WIDTH))
    longest = max(rows)
    starts = set(itertools.accumulate(stages))
    # Stages of one layer each say nothing.
    staged = len(stages) > 1 and max(stages) > 1
    gap = 0.22 if abreast > 1 else 0.10 if longest > 5 else 0.16
    stage_gap = gap + 0.08 if staged else gap

    # The panels are as large as the row allows that needs most room.
    panel = math.inf
    row_gaps: list[list[float]] = []
    first = 0
    for length in rows:
        gaps = [stage_gap if cell in starts else gap for cell in range(first + 1, first + length)]
        room = width - 2 * MARGIN - sum(gaps) - length * (abreast - 1) * _BESIDE
        panel = min(panel, room / (longest * abreast) if length < longest else room / (length * abreast))
        row_gaps.append(gaps)
        first += length
    cell_width = abreast * panel + (abreast - 1) * _BESIDE

    name = _NAME_HEIGHT + (_BRACKET_HEIGHT if staged else 0)
    block = len(rows) * (name + panel) + (len(rows) - 1) * _ROW_GAP
    header = _TOP + (_TITLE_HEIGHT if title else 0) + lines * _LINE_HEIGHT + (0.04 if title or lines else 0)
    indent = _CURVE_LABELS if curve else 0.0
    bar_height = _BAR_HEIGHT if abreast == 1 else 0.06 * abreast
    bar_bottom = _BOTTOM + _BELOW_BAR + (_CURVE_HEIGHT + _CURVE_GAP if curve else 0)
    height = header + block + _COUNT_HEIGHT + bar_height + bar_bottom

    corners: list[tuple[float, float]] = []
    brackets: list[tuple[float, float, float]] = []
    top = height - header
    for length, gaps in zip(rows, row_gaps, strict=True):
        used = length * cell_width + sum(gaps)
        left = (width - used) / 2
        for number in range(length):
            here = left + number * cell_width + sum(gaps[:number])
            if not number or len(corners) in starts:
                brackets.append((here, here, top - 0.05))
            corners.append((here, top - name - panel))
            brackets[-1] = (brackets[-1][0], here + cell_width, brackets[-1][2])
        top -= name + panel + _ROW_GAP
    below = height - _TOP - (_TITLE_HEIGHT if title else 0)
    return Layout(
        width=width,
        height=height,
        panel=panel,
        abreast=abreast,
        rows=tuple(rows),
        corners=tuple(corners),
        brackets=tuple(brackets) if staged else (),
        title=height - _TOP - 0.15 if title else None,
        lines=tuple(below - 0.14 - line * _LINE_HEIGHT for line in range(lines)),
        count=bar_bottom + bar_height + 0.16,
        bar=(MARGIN + indent, bar_bottom, width - 2 * MARGIN - indent, bar_height),
        curve=(MARGIN + indent, _BOTTOM, width - 2 * MARGIN - indent, _CURVE_HEIGHT) if curve else None,
    )


def _row_lengths(stages: Sequence[int], abreast: int, across: float) -> list[int]:
    """Rows of nearly one length that fit across, which end with a stage where they can."""
    cells = sum(stages)
    if cells * abreast <= 3:
        return [cells]
    best = min(
        range(1, cells + 1),
        key=lambda rows: _misfit(cells, rows, abreast, across),
    )
    even = [cells // best + (row < cells % best) for row in range(best)]
    ends = list(itertools.accumulate(stages))
    breaks = [min(ends, key=lambda end: (abs(end - want), end)) for want in itertools.accumulate(even)]
    staged = [end - start for start, end in zip([0, *breaks[:-1]], breaks, strict=True)]
    fits = min(staged) > 0 and max(staged) - min(staged) <= 1 and max(staged) <= max(even)
    return staged if fits else even


def _misfit(cells: int, rows: int, abreast: int, across: float) -> float:
    longest = math.ceil(cells / rows)
    share = (across - 2 * MARGIN) / (_FULL_WIDTH - 2 * MARGIN)
    if longest * abreast > max(abreast, int(share * (_MOST_ABREAST if abreast == 1 else _MOST_SIDE_BY_SIDE))):
        return math.inf
    empty = longest * rows - cells
    # A row that lacks a panel or two stands centred; half a row is an accident.
    lonely = 3.0 if rows > 1 and cells // rows * 2 <= longest and cells // rows < longest else 0.0
    aspect = _WIDE_ASPECT if abreast > 1 or cells > _MANY else _ASPECT
    shape = longest * abreast / rows
    return 4 * empty / cells + 2 * abs(math.log2(shape / aspect) if abreast > 1 else shape - aspect) + lonely
