"""A figure of which little moves: the resting part is drawn once, then only what moves is drawn again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Patch
from matplotlib.text import Text

from acu_core.render.colours import Colour, Theme
from acu_core.render.letter_tiles import LetterTiles

FONT = "DejaVu Sans"
# Letters that a warning names.
_NAMED = 10
# Alignment and rotation of a text that is put together of its letters.
_SIMPLE = ("baseline", 0.0)


class SeldomMoving(Protocol):
    """An artist that looks the same as long as `state` is the same."""

    @property
    def state(self) -> object:
        """Anything that can be compared."""

    def set_animated(self, b: bool) -> None:
        """As every artist's."""

    def draw(self, renderer: Any) -> None:
        """As every artist's."""


class MovingFigure:
    """Matplotlib without its global state. Places are in inches from the lower left corner.

    A picture adds what moves to `moving`, in the order in which it is drawn, over everything that rests, and sets it
    to a frame before it asks for `drawn`. What few frames change, and lies below all else that moves, it adds to
    `seldom_moving`: that is drawn again when its `state` is another one.
    """

    def __init__(self, width: float, height: float, dots_per_inch: float, theme: Theme) -> None:
        self.width, self.height, self.theme = width, height, theme
        # Whole and even numbers of pixels, which video needs.
        across, up = (2 * round(inches * dots_per_inch / 2) for inches in (width, height))
        self.size = across, up
        # A hundredth of a pixel more, for some versions of Matplotlib cut what others round.
        size = (across + 0.01) / dots_per_inch, (up + 0.01) / dots_per_inch
        self.figure = Figure(size, dots_per_inch, facecolor=theme.paper)
        self.moving: list[Artist] = []
        self.seldom_moving: list[SeldomMoving] = []
        # Any: the Agg canvas has no types.
        self._canvas: Any = FigureCanvasAgg(self.figure)
        self._background: Any = None
        self._nearly_resting: Any = None
        self._states: list[object] | None = None
        self._letters = LetterTiles()

    def add_axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes without ticks."""
        place = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        axes.set(xticks=[], yticks=[])
        return axes

    def add_text(self, left: float, bottom: float, content: str, *, size: float, **style: Any) -> Text:
        """Text whose base line begins there, in ink unless `style` says otherwise."""
        place = left / self.width, bottom / self.height
        look = {"fontsize": size, "fontfamily": FONT, "color": self.theme.ink, "parse_math": False, **style}
        return self.figure.text(*place, content, **look)

    def add_patch(self, patch: Patch) -> None:
        """A patch whose places are in inches."""
        patch.set_transform(self.figure.dpi_scale_trans)
        self.figure.add_artist(patch)

    def add_line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """A line through points in inches, `width` points wide, which rests."""
        self.figure.add_artist(
            LineCollection([list(points)], colors=[colour], linewidths=width, transform=self.figure.dpi_scale_trans)
        )

    def drawn(self) -> npt.NDArray[np.uint8]:
        """What is shown now as RGB, (height, width, 3)."""
        # Four bytes a pixel are copied, and compared by whoever writes them, several times as fast as three.
        return np.array(self._drawn())[..., :3]

    def view(self) -> npt.NDArray[np.uint8]:
        """As `drawn`, but only until something else is drawn."""
        return np.asarray(self._drawn())[..., :3]

    def _drawn(self) -> Any:
        if self._background is None:
            animated: list[SeldomMoving | Artist] = [*self.moving, *self.seldom_moving]
            for each in animated:
                each.set_animated(True)
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
            self._states = None
        renderer = self._canvas.get_renderer()
        states: list[object] = [artist.state for artist in self.seldom_moving]
        if states == self._states:
            self._canvas.restore_region(self._nearly_resting)
        else:
            self._canvas.restore_region(self._background)
            for below in self.seldom_moving:
                below.draw(renderer)
            self._states, self._nearly_resting = states, self._background
            if states:
                self._nearly_resting = self._canvas.copy_from_bbox(self.figure.bbox)
        for artist in self.moving:
            if isinstance(artist, Text):
                self._draw_text(artist, renderer)
            else:
                artist.draw(renderer)
        return self._canvas.buffer_rgba()

    def forget(self) -> None:
        """Draws what rests anew for the next frame, for somebody has changed it."""
        self._background = None

    def _draw_text(self, text: Text, renderer: Any) -> None:
        """Of letters that are drawn once: to set a text anew would be the slowest part of a frame."""
        if not text.get_text() or not text.get_visible():
            return
        if (text.get_verticalalignment(), text.get_rotation()) != _SIMPLE:
            text.draw(renderer)
            return
        self._letters.draw(text, renderer)


def drawable(name: str) -> str:
    """A name in one line, with a mark for every letter that the font lacks: it comes from a file system or a user."""
    known = _font(bold=True).get_charmap()
    return "".join(letter if ord(letter) in known else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(name.split()))


def letters_lacking(names: Iterable[str]) -> str | None:
    """A sentence that names the letters of `names` for which `drawable` puts a mark, or None where there are none."""
    known = _font(bold=True).get_charmap()
    lacking = list(
        dict.fromkeys(letter for name in names for letter in "".join(name.split()) if ord(letter) not in known)
    )
    if not lacking:
        return None
    shown = [letter if letter.isprintable() else f"U+{ord(letter):04X}" for letter in lacking[:_NAMED]]
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return f"the font of the pictures has no {', '.join(shown)}{more}: a mark stands in the place of each"


@lru_cache(maxsize=4096)
def text_width(content: str, size: float, *, bold: bool = False) -> float:
    """How many inches a text takes, give or take 3 %: drawn letters stand on whole pixels.

    Of the font alone, so that every version of Matplotlib gives the same layout.
    """
    return size / 72 * sum(_advance(letter, bold) for letter in content)


@lru_cache(maxsize=1024)
def _advance(letter: str, bold: bool) -> float:
    """Of a letter at size 1, in points."""
    font = _font(bold=bold)
    font.set_size(100, 72)
    # In 65536ths of a pixel, without hinting.
    advance: int = font.load_char(ord(letter)).linearHoriAdvance
    return advance / 65536 / 100


def _font(*, bold: bool) -> Any:
    return get_font(findfont(FontProperties(family=FONT, weight="bold" if bold else "normal")))
