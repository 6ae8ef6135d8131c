"""The footer: which iteration is shown, how far the run is, and what the marks mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle

from acu_core.render.colours import Colour
from acu_core.render.moving_figure import MovingFigure

_LEGEND_GROUPS = 6
_DOT = "\N{BLACK CIRCLE}"
# Width of a letter of the legend in inches, on average and a little more.
_CHARACTER = 0.07
# What the iteration's number needs at the left.
_COUNT_WIDTH = 1.6

_Entry = tuple[str, str, Colour]
Place = tuple[float, float, float, float]
"""Left, bottom, width and height in inches."""


class Timeline:
    """The iteration, a bar with the warm-up marked, and a legend; iterations (M,) at every moment.

    `place` is the bar's.
    """

    def __init__(
        self,
        figure: MovingFigure,
        place: Place,
        iterations: npt.NDArray[np.float64],
        *,
        warm_up: int,
        groups: int,
        hidden: bool,
    ) -> None:
        self._iterations = iterations
        theme, add_text = figure.theme, figure.add_text
        axes = figure.add_axes(*place)
        warm = min(max(self._share(warm_up), 0.0), 1.0) if warm_up > iterations[0] else 0.0
        self._warm = warm
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.axis("off")
        axes.add_patch(Rectangle((0, 0), 1, 1, color=theme.track, linewidth=0))
        axes.add_patch(Rectangle((0, 0), warm, 1, color=theme.warm_up_track, linewidth=0))
        self._bar = Rectangle((warm, 0), 0, 1, color=theme.ink, linewidth=0)
        self._warm_bar = Rectangle((0, 0), 0, 1, color=theme.warm_up, linewidth=0)
        for patch in (self._bar, self._warm_bar):
            axes.add_patch(patch)
        left, bottom, width, height = place
        above, below = bottom + height + 0.11, bottom - 0.155
        if warm:
            add_text(left, below, "warm-up: positions wait", size=7.5, color=theme.warm_up_text)
        add_text(left + width, below, f"{round(iterations[-1]):,}", size=7.5, color=theme.muted, ha="right")
        self._count = add_text(left, above, "", size=10.5, fontweight="bold")
        figure.moving += [self._bar, self._warm_bar, self._count]
        _add_legend(figure, left + width, above, width - _COUNT_WIDTH, groups, hidden)

    def show(self, moment: int) -> None:
        """Sets the footer to one moment of the schedule."""
        iteration = round(float(self._iterations[moment]))
        share = self._share(iteration)
        self._count.set_text(f"iteration {iteration:,}")
        self._warm_bar.set_width(min(share, self._warm))
        self._bar.set_width(max(0.0, share - self._warm))

    def _share(self, iteration: float) -> float:
        first, last = float(self._iterations[0]), float(self._iterations[-1])
        return (iteration - first) / (last - first) if last > first else 1.0


def _add_legend(figure: MovingFigure, right: float, bottom: float, room: float, groups: int, hidden: bool) -> None:
    theme, add_text = figure.theme, figure.add_text
    shown = range(min(groups, _LEGEND_GROUPS))
    note: list[_Entry] = [("squares are input pixels", "", theme.muted)]
    marks: list[_Entry] = [("hidden", "\N{WHITE CIRCLE}", theme.hidden)] if hidden else []
    learned: list[_Entry] = [("learned", _DOT, theme.group(0))] if hidden else []
    if groups > 1:
        learned = [(f"group {g + 1}", _DOT, theme.group(g)) for g in shown]
    brief: list[_Entry] = [(label.split()[-1], mark, colour) for label, mark, colour in learned]
    for entries in (note + learned + marks, learned + marks, brief + marks):
        if sum(map(_width, entries)) <= room:
            break
    # From the right, so that the row ends where the bar ends.
    for label, mark, colour in reversed(entries):
        add_text(right, bottom, label, size=8, color=theme.muted, ha="right")
        add_text(right - _CHARACTER * len(label) - 0.04, bottom, mark, size=8.5, color=colour, ha="right")
        right -= _width((label, mark, colour))


def _width(entry: _Entry) -> float:
    label, mark, _ = entry
    return _CHARACTER * len(label) + (0.30 if mark else 0.16)
