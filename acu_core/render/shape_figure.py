"""The picture itself: panels of shapes over a timeline, drawn by Matplotlib without its global state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from acu_core.render.colours import Theme
from acu_core.render.frame_schedule import FrameSchedule, at_moments
from acu_core.render.layout import Layout
from acu_core.render.moving_figure import MovingFigure
from acu_core.render.recording import Recording
from acu_core.render.shape_panel import ShapePanel
from acu_core.render.timeline import Timeline

_TITLE_SIZE = 9.5
_SMALL_TITLE_SIZE = 7.5
# Width of a bold letter in inches at size 1, on average and a little more.
_LETTER = 0.0101


def visible_reach(recording: Recording) -> float:
    """Half the side of every panel in input pixels, one for all: it holds every position of every frame."""
    reach = max(float(np.abs(p).max()) for p in recording.positions.values())
    if recording.hidden is not None:
        reach = max(reach, float(np.abs(recording.hidden).max()))
    # A part of a cell beyond the outermost synapse, so that its dot is not cut.
    return max(1.8, 1.06 * reach + 0.3)


class ShapeFigure:
    """Draws any frame of a recording."""

    def __init__(
        self, recording: Recording, schedule: FrameSchedule, layout: Layout, dots_per_inch: float, theme: Theme
    ) -> None:
        self._schedule = schedule
        self._drawing = MovingFigure(layout.width, layout.height, dots_per_inch, theme)
        self.figure, self.size = self._drawing.figure, self._drawing.size
        reach = visible_reach(recording)
        self._panels = []
        for index, (name, values) in enumerate(recording.positions.items()):
            left, bottom = layout.corner(index)
            axes = self._drawing.add_axes(left, bottom, layout.panel, layout.panel)
            title, size = _fit_title(name, layout.panel)
            self._drawing.add_text(left + 0.01, bottom + layout.panel + 0.065, title, size=size, fontweight="bold")
            positions = at_moments(values, schedule.moments)
            panel = ShapePanel(axes, positions, recording.hidden, reach, layout.panel, theme)
            self._panels.append(panel)
            self._drawing.moving += panel.moving
        self._timeline = Timeline(
            self._drawing,
            layout.bar,
            at_moments(recording.iterations, schedule.moments),
            warm_up=recording.warm_up,
            groups=max(values.shape[1] for values in recording.positions.values()),
            hidden=recording.hidden is not None,
        )

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self._schedule.frames)

    def pixels(self, frame: int) -> npt.NDArray[np.uint8]:
        """Frame `frame` as RGB, (height, width, 3)."""
        self.show(frame)
        return self._drawing.drawn()

    def show(self, frame: int) -> None:
        """Sets everything that moves to frame `frame`."""
        moment = int(self._schedule.frames[frame])
        for panel in self._panels:
            panel.show(moment)
        self._timeline.show(moment)


def _fit_title(name: str, width: float) -> tuple[str, float]:
    size = _TITLE_SIZE if len(name) * _LETTER * _TITLE_SIZE <= width else _SMALL_TITLE_SIZE
    letters = int(width / (_LETTER * size))
    # The end of a qualified name tells layers apart, its beginning does not.
    return (name if len(name) <= letters else "\N{HORIZONTAL ELLIPSIS}" + name[1 - letters :]), size
