"""How many panels fit where, and how large."""

from __future__ import annotations

from dataclasses import dataclass

from acu_cli.watch.dots import ACROSS, DOWN

_SMALLEST = 20
_LARGEST = 128
"""Dots along a panel's side."""
_GAP = 2


@dataclass(frozen=True)
class PanelGrid:
    """`count` panels in rows of `across`; a body is `rows` x `columns` characters below a line with its name."""

    count: int
    across: int
    rows: int
    columns: int
    pitch: int
    """Columns from one panel to the next."""

    @classmethod
    def fit(cls, count: int, height: int, width: int) -> PanelGrid | None:
        """The largest panels for as many of `count` layers as fit; None where not even one does."""
        least = _SMALLEST // ACROSS + _GAP, _SMALLEST // DOWN + 1
        room = (width + _GAP) // least[0] * (height // least[1])
        for shown in range(min(count, room), 0, -1):
            found = [cls._with(shown, across, height, width) for across in range(1, shown + 1)]
            best = max((grid for grid in found if grid is not None), key=lambda grid: grid.side, default=None)
            if best is not None:
                return best
        return None

    @classmethod
    def _with(cls, count: int, across: int, height: int, width: int) -> PanelGrid | None:
        down = -(-count // across)
        pitch = (width + _GAP) // across
        side = min((pitch - _GAP) * ACROSS, (height // down - 1) * DOWN, _LARGEST) // DOWN * DOWN
        if side < _SMALLEST:
            return None
        # As even as can be: nine panels in rows of five are five and four, ten of them twice five.
        across = -(-count // down)
        return cls(count, across, side // DOWN, side // ACROSS, (width + _GAP) // across)

    @property
    def side(self) -> int:
        """Dots along the shorter side of a body."""
        return min(self.rows * DOWN, self.columns * ACROSS)

    @property
    def height(self) -> int:
        """Rows of all panels together."""
        return -(-self.count // self.across) * (self.rows + 1)

    def place(self, number: int) -> tuple[int, int]:
        """Row and column of a panel's first line, counted from the corner of them all."""
        row, column = divmod(number, self.across)
        return row * (self.rows + 1), column * self.pitch
