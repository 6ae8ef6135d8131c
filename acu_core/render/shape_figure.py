"""The picture itself: panels of shapes over a timeline, drawn by Matplotlib without its global state."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from acu_core.render import colours
from acu_core.render.frame_schedule import FrameSchedule, at_moments
from acu_core.render.layout import Layout
from acu_core.render.recording import Recording
from acu_core.render.shape_panel import ShapePanel
from acu_core.render.timeline import Timeline

_FONT = "DejaVu Sans"
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
    """Draws any frame of a recording: the unchanging part once, then only what moves."""

    def __init__(self, recording: Recording, schedule: FrameSchedule, layout: Layout, dots_per_inch: float) -> None:
        self._schedule = schedule
        self._layout = layout
        # Whole and even numbers of pixels, which video needs.
        across, up = (2 * round(inches * dots_per_inch / 2) for inches in (layout.width, layout.height))
        self.size = across, up
        self.figure = Figure((across / dots_per_inch, up / dots_per_inch), dots_per_inch, facecolor=colours.PAPER)
        # Any: the Agg canvas has no types.
        self._canvas: Any = FigureCanvasAgg(self.figure)
        self._background: Any = None
        reach = visible_reach(recording)
        self._panels = []
        for index, (name, values) in enumerate(recording.positions.items()):
            left, bottom = layout.corner(index)
            axes = self._add_axes(left, bottom, layout.panel, layout.panel)
            title, size = _fit_title(name, layout.panel)
            self._add_text(left + 0.01, bottom + layout.panel + 0.065, title, size=size, fontweight="bold")
            positions = at_moments(values, schedule.moments)
            self._panels.append(ShapePanel(axes, positions, recording.hidden, reach, layout.panel))
        groups = max(values.shape[1] for values in recording.positions.values())
        self._timeline = Timeline(
            self._add_axes(*layout.bar),
            self._add_text,
            layout,
            at_moments(recording.iterations, schedule.moments),
            warm_up=recording.warm_up,
            groups=groups,
            hidden=recording.hidden is not None,
        )
        self._moving: list[Artist] = [*(a for panel in self._panels for a in panel.moving), *self._timeline.moving]

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self._schedule.frames)

    def pixels(self, frame: int) -> npt.NDArray[np.uint8]:
        """Frame `frame` as opaque RGBA, (height, width, 4)."""
        if self._background is None:
            for artist in self._moving:
                artist.set_animated(True)
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self.show(frame)
        self._canvas.restore_region(self._background)
        renderer = self._canvas.get_renderer()
        for artist in self._moving:
            artist.draw(renderer)
        return np.array(self._canvas.buffer_rgba())

    def show(self, frame: int) -> None:
        """Sets everything that moves to frame `frame`."""
        moment = int(self._schedule.frames[frame])
        for panel in self._panels:
            panel.show(moment)
        self._timeline.show(moment)

    def _add_axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        across, up = self._layout.width, self._layout.height
        axes = self.figure.add_axes((left / across, bottom / up, width / across, height / up))
        axes.set(xticks=[], yticks=[])
        return axes

    def _add_text(self, left: float, bottom: float, content: str, *, size: float, **style: Any) -> Text:
        place = left / self._layout.width, bottom / self._layout.height
        return self.figure.text(*place, content, fontsize=size, fontfamily=_FONT, **{"color": colours.INK, **style})


def _fit_title(name: str, width: float) -> tuple[str, float]:
    size = _TITLE_SIZE if len(name) * _LETTER * _TITLE_SIZE <= width else _SMALL_TITLE_SIZE
    letters = int(width / (_LETTER * size))
    # The end of a qualified name tells layers apart, its beginning does not.
    return (name if len(name) <= letters else "\N{HORIZONTAL ELLIPSIS}" + name[1 - letters :]), size
