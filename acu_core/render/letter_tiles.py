"""Letters as small images: a text that changes in every frame is put together of them, for setting it takes long."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

# Of the scratch picture that a letter is drawn into, in letter heights: the origin, and the whole.
_ORIGIN, _WHOLE = 1, 3
# The share of a text that lies to the left of where it stands.
_BEFORE = {"left": 0.0, "center": 0.5, "right": 1.0}


@dataclass(frozen=True)
class _Tile:
    """A letter's `pixels` (height, width, 4), the lowest row first, and where they lie beside its origin.

    `advance` is how far the next letter is, `width` what a line takes that ends with this letter, all in pixels.
    """

    pixels: npt.NDArray[np.uint8] | None
    left: int
    bottom: int
    advance: float
    width: float


class LetterTiles:
    """Every letter of every style is drawn once."""

    def __init__(self) -> None:
        self._tiles: dict[tuple[Any, ...], _Tile] = {}

    def draw(self, text: Text, renderer: Any) -> None:
        """Draws a text of one line that is not turned."""
        x, y = text.get_transform().transform(text.get_position())
        row = math.floor(y)
        font, colour = text.get_fontproperties(), text.get_color()
        tiles = []
        for letter in text.get_text():
            # Newer versions of Matplotlib draw letters between two rows of pixels.
            style = letter, hash(font), str(colour), renderer.dpi, y - row
            if style not in self._tiles:
                self._tiles[style] = _draw_letter(letter, font, colour, y - row, renderer)
            tiles.append(self._tiles[style])
        x -= _BEFORE[text.get_horizontalalignment()] * (sum(tile.advance for tile in tiles[:-1]) + tiles[-1].width)
        gc = renderer.new_gc()
        for tile in tiles:
            if tile.pixels is not None:
                renderer.draw_image(gc, round(x) + tile.left, row + tile.bottom, tile.pixels)
            x += tile.advance
        gc.restore()


def _draw_letter(letter: str, font: FontProperties, colour: Any, above: float, renderer: Any) -> _Tile:
    width, twice = (renderer.get_text_width_height_descent(letters, font, False)[0] for letters in (letter, 2 * letter))
    height = math.ceil(font.get_size_in_points() / 72 * renderer.dpi)
    origin, side = _ORIGIN * height, _WHOLE * height / renderer.dpi
    figure = Figure((side, side), renderer.dpi, facecolor="none")
    canvas: Any = FigureCanvasAgg(figure)
    place = origin / renderer.dpi, (origin + above) / renderer.dpi
    drawn = figure.text(*place, letter, fontproperties=font, color=colour, parse_math=False)
    drawn.set_transform(figure.dpi_scale_trans)
    canvas.draw()
    pixels = np.array(canvas.buffer_rgba())[::-1]
    rows, columns = (np.flatnonzero(pixels[..., 3].any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return _Tile(None, 0, 0, twice - width, width)
    kept = np.ascontiguousarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return _Tile(kept, int(columns[0]) - origin, int(rows[0]) - origin, twice - width, width)
