"""How wide the receptive field was at every iteration, beside that of the fixed grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle

from acu_core.render.moving_figure import MovingFigure

_FEW = 12


class RadiusCurve:
    """RMS radii (P,) at iterations (P,), the part so far strong, over the level of the fixed grid."""

    def __init__(
        self,
        drawing: MovingFigure,
        place: tuple[float, float, float, float],
        iterations: npt.NDArray[np.int64],
        radii: npt.NDArray[np.float64],
        fixed: float,
        *,
        warm_up: int,
    ) -> None:
        theme = drawing.theme
        self._iterations, self._radii = iterations, radii
        axes = drawing.add_axes(*place)
        axes.set_facecolor(theme.panel)
        for spine in axes.spines.values():
            spine.set(color=theme.border, linewidth=0.8)
        first, last = int(iterations[0]), max(int(iterations[-1]), int(iterations[0]) + 1)
        low, high = min(fixed, float(radii.min())), max(fixed, float(radii.max()))
        room = max(high - low, 0.02 * high, 1e-6)
        axes.set(xlim=(first, last), ylim=(low - 0.3 * room, high + 0.3 * room))
        if first < warm_up:
            end = min(warm_up, last)
            axes.add_patch(
                Rectangle((first, low - room), end - first, 3 * room, color=theme.warm_up_track, linewidth=0)
            )
        axes.plot([first, last], [fixed, fixed], color=theme.muted, linewidth=1.2, linestyle=(0, (3.2, 2.2)))
        # Few points are shown as such: what lies between them was not recorded.
        marks: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(radii) <= _FEW else {}
        thin = 0.4 if marks else 1.0
        axes.plot(iterations, radii, color=theme.curve_ahead, linewidth=1.6 * thin, clip_on=False, **marks)
        (self._line,) = axes.plot([], [], color=theme.group(0), linewidth=2.2 * thin, clip_on=False, **marks)
        (self._point,) = axes.plot([], [], "o", color=theme.group(0), markersize=5.5, clip_on=False)
        drawing.moving += [self._line, self._point]
        left, bottom, width, height = place
        range_ = f"{radii.min():.2f} to {radii.max():.2f} px"
        style: dict[str, Any] = {"size": 8, "color": theme.muted}
        drawing.add_text(left, bottom + height + 0.06, f"RMS radius of the learned positions: {range_}", **style)
        drawing.add_text(left + width, bottom + height + 0.06, "dashed: fixed grid", ha="right", **style)

    def show(self, point: int) -> None:
        """Sets it to one of the radii."""
        self._line.set_data(self._iterations[: point + 1], self._radii[: point + 1])
        self._point.set_data([self._iterations[point]], [self._radii[point]])
