"""What the marks of the picture mean, in one line, each mark drawn as it looks in the panels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from matplotlib.patches import Circle, Polygon, Rectangle

from acu_core.render.colours import Colour
from acu_core.render.layout import TEXT_SIZE
from acu_core.render.moving_figure import MovingFigure, text_width

_BETWEEN = 0.20
_MARK_GAP = 0.08
# Of a text's small letters above its base line, in inches.
_MIDDLE = 0.041

Draw = Callable[[MovingFigure, float, float], None]
"""Draws a mark whose left edge and middle line are given, in inches."""


@dataclass(frozen=True)
class Entry:
    """A mark, `width` inches wide, with its label, and a `brief` one for when there is too little room."""

    label: str
    width: float
    draw: Draw
    rank: int = 1
    brief: str | None = None

    @property
    def room(self) -> float:
        """How many inches it takes."""
        return self.width + _MARK_GAP + text_width(self.label, TEXT_SIZE)


def dots(diameters: Sequence[float], colour: Colour, label: str, rank: int = 1, brief: str | None = None) -> Entry:
    """Dots beside each other, `diameters` in points."""
    inches = [diameter / 72 for diameter in diameters]
    gap = 0.045

    def draw(figure: MovingFigure, left: float, middle: float) -> None:
        for diameter in inches:
            figure.add_patch(
                Circle((left + diameter / 2, middle), diameter / 2, facecolor=colour, edgecolor="none"),
            )
            left += diameter + gap

    return Entry(label, sum(inches) + gap * (len(inches) - 1), draw, rank, brief)


def ring(
    diameter: float,
    width: float,
    colour: Colour,
    label: str,
    rank: int = 1,
    *,
    filled: bool = True,
    brief: str | None = None,
) -> Entry:
    """A circle, `diameter` and line `width` in points, in the panel's colour or empty."""
    inches = diameter / 72

    def draw(figure: MovingFigure, left: float, middle: float) -> None:
        figure.add_patch(
            Circle(
                (left + inches / 2, middle),
                inches / 2,
                facecolor=figure.theme.panel if filled else "none",
                edgecolor=colour,
                linewidth=width,
            )
        )

    return Entry(label, inches, draw, rank, brief)


def first_place(diameter: float, width: float, colour: Colour, label: str, rank: int = 1) -> Entry:
    """A ring in the shaded cell in which it lies."""
    around = ring(diameter, width, colour, label, rank, filled=False)
    side = around.width + 0.05

    def draw(figure: MovingFigure, left: float, middle: float) -> None:
        corner = left, middle - side / 2
        figure.add_patch(Rectangle(corner, side, side, facecolor=figure.theme.first_cells, edgecolor=figure.theme.grid))
        around.draw(figure, left + (side - around.width) / 2, middle)

    return Entry(label, side, draw, rank)


def cell(label: str, rank: int = 0) -> Entry:
    """An empty square between the grid's lines."""
    side = 0.11

    def draw(figure: MovingFigure, left: float, middle: float) -> None:
        figure.add_patch(
            Rectangle(
                (left, middle - side / 2),
                side,
                side,
                facecolor="none",
                edgecolor=figure.theme.border,
                linewidth=0.9,
            )
        )

    return Entry(label, side, draw, rank)


def triangle(colour: Colour, label: str, rank: int = 1) -> Entry:
    """The mark of a sudden change on the time line."""
    side = 0.09

    def draw(figure: MovingFigure, left: float, middle: float) -> None:
        figure.add_patch(Polygon(down(left + side / 2, middle - side / 2, side), facecolor=colour, edgecolor="none"))

    return Entry(label, side, draw, rank)


def line(colour: Colour, label: str, *, dashed: bool = False, rank: int = 1, brief: str | None = None) -> Entry:
    """A short line."""
    length = 0.2

    def draw(figure: MovingFigure, left: float, middle: float) -> None:
        pieces = [(0.0, 0.08), (0.12, 0.2)] if dashed else [(0.0, length)]
        for begin, end in pieces:
            figure.add_patch(
                Rectangle((left + begin, middle - 0.011), end - begin, 0.022, facecolor=colour, edgecolor="none")
            )

    return Entry(label, length, draw, rank, brief)


def down(tip: float, height: float, side: float) -> list[tuple[float, float]]:
    """The corners of a triangle that points down to (tip, height)."""
    return [(tip, height), (tip - side / 2, height + side), (tip + side / 2, height + side)]


def fitting(entries: Sequence[Entry], room: float) -> list[Entry]:
    """The entries that fit into `room` inches in one line.

    Those of rank 0 go first, then labels become brief, then the others go, the lower their rank the earlier.
    """
    chosen = list(entries)
    while chosen and line_width(chosen) > room:
        lowest = min(entry.rank for entry in chosen)
        if lowest > 0 and any(entry.brief for entry in chosen):
            chosen = [replace(entry, label=entry.brief or entry.label, brief=None) for entry in chosen]
        else:
            del chosen[max(number for number, entry in enumerate(chosen) if entry.rank == lowest)]
    return chosen


def line_width(entries: Sequence[Entry]) -> float:
    """How many inches all entries take in one line."""
    return sum(entry.room for entry in entries) + _BETWEEN * max(0, len(entries) - 1)


def add_legend(figure: MovingFigure, entries: Sequence[Entry], right: float, bottom: float) -> None:
    """Draws the entries in one line that ends at `right`, base line `bottom`."""
    left = right - line_width(entries)
    for entry in entries:
        entry.draw(figure, left, bottom + _MIDDLE)
        figure.add_text(left + entry.width + _MARK_GAP, bottom, entry.label, size=TEXT_SIZE, color=figure.theme.muted)
        left += entry.room + _BETWEEN
