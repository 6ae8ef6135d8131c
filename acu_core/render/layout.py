"""Where things stand in the picture, in inches at 100 pixels an inch: the look is the same at every width."""

from __future__ import annotations

import math
from dataclasses import dataclass

MARGIN = 0.22
GAP = 0.16
TITLE_HEIGHT = 0.27
FOOTER_HEIGHT = 0.76
_WIDTHS = {1: 4.6, 2: 6.4}
_FULL_WIDTH = 8.0


@dataclass(frozen=True)
class Layout:
    """A grid of square panels above a footer with the timeline."""

    columns: int
    rows: int
    width: float
    panel: float

    @property
    def height(self) -> float:
        """Height of the picture."""
        return MARGIN * 0.6 + self.rows * (TITLE_HEIGHT + self.panel) + (self.rows - 1) * GAP * 0.4 + FOOTER_HEIGHT

    @property
    def bar(self) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of the timeline's bar."""
        return MARGIN, 0.28, self.width - 2 * MARGIN, 0.07

    def corner(self, index: int) -> tuple[float, float]:
        """Lower left corner of panel `index`, counted by rows."""
        row, column = divmod(index, self.columns)
        top = self.height - MARGIN * 0.6 - row * (TITLE_HEIGHT + self.panel + GAP * 0.4) - TITLE_HEIGHT
        return MARGIN + column * (self.panel + GAP), top - self.panel


def plan_layout(panels: int) -> Layout:
    """The grid for so many panels: few empty places, a little wider than high."""
    if panels <= 3:
        columns = panels
    else:
        columns = min(range(2, 7), key=lambda c: 4 * (-panels % c) / panels + 2 * abs(c / math.ceil(panels / c) - 1.5))
    width = _WIDTHS.get(columns, _FULL_WIDTH)
    return Layout(columns, math.ceil(panels / columns), width, (width - 2 * MARGIN - (columns - 1) * GAP) / columns)
