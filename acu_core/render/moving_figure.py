"""A figure of which little moves: the resting part is drawn once, then only what moves is drawn again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from acu_core.render.colours import Theme

FONT = "DejaVu Sans"
# Of a letter at size 1 in inches, on average and a little more.
_LETTER, _BOLD_LETTER = 0.0088, 0.0101


class MovingFigure:
    """Matplotlib without its global state. Places are in inches from the lower left corner.

    A picture adds what moves to `moving`, in the order in which it is drawn, over everything that rests, and sets it
    to a frame before it asks for `drawn`.
    """

    def __init__(self, width: float, height: float, dots_per_inch: float, theme: Theme) -> None:
        self.width, self.height, self.theme = width, height, theme
        # Whole and even numbers of pixels, which video needs.
        across, up = (2 * round(inches * dots_per_inch / 2) for inches in (width, height))
        self.size = across, up
        self.figure = Figure((across / dots_per_inch, up / dots_per_inch), dots_per_inch, facecolor=theme.paper)
        self.moving: list[Artist] = []
        # Any: the Agg canvas has no types.
        self._canvas: Any = FigureCanvasAgg(self.figure)
        self._background: Any = None

    def add_axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes without ticks."""
        place = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        axes.set(xticks=[], yticks=[])
        return axes

    def add_text(self, left: float, bottom: float, content: str, *, size: float, **style: Any) -> Text:
        """Text whose base line begins there, in ink unless `style` says otherwise."""
        place = left / self.width, bottom / self.height
        return self.figure.text(*place, content, fontsize=size, fontfamily=FONT, **{"color": self.theme.ink, **style})

    def drawn(self) -> npt.NDArray[np.uint8]:
        """What is shown now as RGB, (height, width, 3)."""
        if self._background is None:
            for artist in self.moving:
                artist.set_animated(True)
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self._canvas.restore_region(self._background)
        renderer = self._canvas.get_renderer()
        for artist in self.moving:
            artist.draw(renderer)
        return np.array(np.asarray(self._canvas.buffer_rgba())[..., :3])


def text_width(content: str, size: float, *, bold: bool = False) -> float:
    """About how many inches a text takes, rather more than less."""
    return len(content) * size * (_BOLD_LETTER if bold else _LETTER)
