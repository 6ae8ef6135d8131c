"""One panel: how much each pixel of the input counts, and how wide that is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import Circle
from matplotlib.patheffects import AbstractPathEffect, withStroke

from acu_core.render.moving_figure import FONT, MovingFigure

_TICK_SIZE = 8.0
_MOST_TICKS = 5


class Field(Protocol):
    """A receptive field: see `acu_core.nn.receptive_field.ReceptiveField`."""

    @property
    def map(self) -> npt.ArrayLike:
        """(H, W), the share of each pixel."""

    @property
    def centre(self) -> tuple[float, float]:
        """The mean place (y, x)."""

    @property
    def radius(self) -> float:
        """The root mean square distance from there, in pixels."""


class Ring:
    """A circle of the RMS radius around the mean place, with or without a point there."""

    def __init__(self, drawing: MovingFigure, axes: Axes, *, dashed: bool, point: bool = True) -> None:
        colour = drawing.theme.ink
        halo: list[AbstractPathEffect] = [withStroke(linewidth=3.2, foreground=drawing.theme.panel)]
        style = (0, (3.2, 2.2)) if dashed else "-"
        self._circle = Circle((0, 0), 1, fill=False, edgecolor=colour, linewidth=1.6, linestyle=style, zorder=3)
        self._circle.set_path_effects(halo)
        axes.add_patch(self._circle)
        (self._point,) = axes.plot([], [], "o", color=colour, markersize=3.6 if point else 0, zorder=4)
        self._point.set_path_effects(halo)
        self.artists = [self._circle, self._point]

    def show(self, field: Field) -> None:
        """Sets it around a field."""
        y, x = field.centre
        self._circle.set_center((x, y))
        self._circle.set_radius(field.radius)
        self._point.set_data([x], [y])


class FieldPanel:
    """Axes over the pixels of the input, `place` in inches."""

    def __init__(
        self,
        drawing: MovingFigure,
        place: tuple[float, float, float, float],
        shape: tuple[int, int],
        colours: Colormap,
        scale: Normalize,
        *,
        rows: bool,
    ) -> None:
        theme = drawing.theme
        self.axes = drawing.add_axes(*place)
        self.axes.set_facecolor(theme.panel)
        for spine in self.axes.spines.values():
            spine.set(color=theme.border, linewidth=0.8)
        self.image = self.axes.imshow(np.zeros(shape), cmap=colours, norm=scale, zorder=1)
        height, width = shape
        self.axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        self.axes.set_xticks(pixel_ticks(width))
        self.axes.set_yticks(pixel_ticks(height) if rows else [])
        self.axes.tick_params(
            length=2.5,
            width=0.8,
            pad=2.5,
            labelsize=_TICK_SIZE,
            color=theme.border,
            labelcolor=theme.muted,
            labelfontfamily=FONT,
        )

    def show(self, values: npt.NDArray[np.float64]) -> None:
        """Sets the image, (H, W)."""
        self.image.set_data(values)


def pixel_ticks(size: int) -> list[int]:
    """Round numbers of pixels from 0 on, a handful."""
    steps = [step * 10**power for power in range(4) for step in (1, 2, 4, 5, 8)]
    step = next(step for step in steps if (size - 1) // step < _MOST_TICKS)
    return list(range(0, size, step))
