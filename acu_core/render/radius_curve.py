"""How wide the receptive field was at every iteration, beside that of the fixed grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from acu_core.render.layout import TEXT_SIZE, Place
from acu_core.render.moving_figure import MovingFigure

# Few points are shown as such: what lies between them was not recorded.
_FEW = 12


class RadiusCurve:
    """RMS radii (P,) at iterations (P,), the part so far strong, over the level of the fixed grid."""

    def __init__(
        self,
        drawing: MovingFigure,
        place: Place,
        iterations: npt.NDArray[np.float64],
        radii: npt.NDArray[np.float64],
        fixed: float,
    ) -> None:
        theme = drawing.theme
        self._iterations, self._radii = iterations, radii
        axes = drawing.add_axes(*place)
        axes.set_facecolor(theme.panel)
        for spine in axes.spines.values():
            spine.set(color=theme.border, linewidth=0.8)
        low, high = min(fixed, float(radii.min())), max(fixed, float(radii.max()))
        room = max(high - low, 0.1 * high, 1e-6)
        bottom, top = low - 0.15 * room, high + 0.15 * room
        first, last = float(iterations[0]), float(iterations[-1])
        axes.set(xlim=(first if last > first else first - 1, last), ylim=(bottom, top))
        left, base, _, height = place
        for value in _labels(bottom, top):
            axes.axhline(value, color=theme.grid, linewidth=0.8, zorder=1)
            level = base + height * (value - bottom) / (top - bottom)
            drawing.add_text(left - 0.05, level - 0.04, f"{value:g} px", size=TEXT_SIZE, color=theme.muted, ha="right")
        axes.axhline(fixed, color=theme.muted, linewidth=1.2, linestyle=(0, (3.2, 2.2)), zorder=2)
        few = len(radii) <= _FEW
        marks: dict[str, Any] = {"marker": "o", "markersize": 3.5} if few else {}
        thin = 0.5 if few else 1.0
        axes.plot(iterations, radii, color=theme.curve_ahead, linewidth=1.5 * thin, clip_on=False, zorder=3, **marks)
        accent = theme.group(0)
        (self._line,) = axes.plot([], [], color=accent, linewidth=2.0 * thin, clip_on=False, zorder=4, **marks)
        (self._point,) = axes.plot(
            [], [], "o", color=accent, markeredgecolor=theme.panel, markersize=7, clip_on=False, zorder=5
        )
        drawing.moving += [self._line, self._point]

    def show(self, point: int) -> None:
        """Sets it to one of the radii."""
        self._line.set_data(self._iterations[: point + 1], self._radii[: point + 1])
        self._point.set_data([self._iterations[point]], [self._radii[point]])


def _labels(low: float, high: float) -> list[float]:
    """Two to four round numbers between the ends, away from them."""
    inset = 0.08 * (high - low)
    for power in range(6, -7, -1):
        for digit in (5, 2, 1):
            step = digit * 10.0**power
            first, last = math.ceil((low + inset) / step), math.floor((high - inset) / step)
            if last - first >= 1:
                return [round(number * step, 9) for number in range(first, last + 1)][:4]
    return []
