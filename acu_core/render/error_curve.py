"""The test error of one run, or of several, below the time line, over the same axis of iterations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from acu_core.render.colours import Colour
from acu_core.render.frame_schedule import FrameSchedule
from acu_core.render.layout import MARGIN, TEXT_SIZE, Place
from acu_core.render.moving_figure import MovingFigure, text_width
from acu_core.render.recording import Recording
from acu_core.render.timeline import Timeline

_LABELS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
_LINE_STYLES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
# Marks do not reach the frame of the axes.
_INSET = 0.05
_VALUE_SIZE = 10.0
_PAST_WIDTH, _PAST_DOT = 1.7, 6.0
_NAME = "test error, log scale"
# Of a piece of a recording's line, before its error.
_SAMPLE_ROOM = 0.50


def has_errors(recordings: Sequence[Recording], schedule: FrameSchedule) -> bool:
    """Whether anything was evaluated between the first iteration and the last."""
    first, last = schedule.iterations[0], schedule.iterations[-1]
    return any(
        recording.curve is not None
        and bool(np.any((recording.curve.iterations >= first) & (recording.curve.iterations <= last)))
        for recording in recordings
    )


def words_room(recordings: int) -> float:
    """How many inches the words for the current errors of so many recordings take above the time line."""
    each = _value_width() + (_SAMPLE_ROOM if recordings > 1 else 0)
    return recordings * each + text_width(_NAME, TEXT_SIZE) + 0.15


def _value_width() -> float:
    return text_width("88.8 %", _VALUE_SIZE, bold=True)


class ErrorCurve:
    """Test errors in percent on a logarithmic scale: what is past is strong, what is to come is faint.

    `place` is that of the axes, `count` the base line of the words above the time line, at whose end the last error
    of each recording stands.
    """

    def __init__(
        self,
        figure: MovingFigure,
        place: Place,
        count: float,
        schedule: FrameSchedule,
        recordings: Sequence[Recording],
        timeline: Timeline,
        colours: Sequence[Colour],
    ) -> None:
        self._iterations = schedule.at_moments()
        self._timeline = timeline
        theme = figure.theme
        left, bottom, width, height = place
        figure.add_patch(
            Rectangle((left, bottom), width, height, facecolor=theme.panel, edgecolor=theme.border, linewidth=0.8)
        )
        first, last = schedule.iterations[0], schedule.iterations[-1]
        self._points: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
        for recording in recordings:
            curve = recording.curve
            if curve is None:
                self._points.append((np.zeros(0, np.int64), np.zeros(0)))
                continue
            inside = (curve.iterations >= first) & (curve.iterations <= last)
            self._points.append((curve.iterations[inside], curve.errors[inside]))
        every = np.concatenate([errors for _, errors in self._points])
        # An error of 0 has no place on a logarithmic scale.
        self._least = max(float(every[every > 0].min(initial=100.0)), 1e-3)
        most = max(float(every.max()), 1.02 * self._least)
        low, high = math.log(self._least), math.log(most)
        self._heights = bottom + _INSET, (height - 2 * _INSET) / (high - low), low

        for value in _labels(self._least, most, height):
            level = self._height(value)
            figure.add_line([(left, level), (left + width, level)], theme.grid, 0.8)
            figure.add_text(left - 0.05, level - 0.04, f"{value:g} %", size=TEXT_SIZE, color=theme.muted, ha="right")
        self._past: list[_Past] = []
        several = len(recordings) > 1
        for number, (iterations, errors) in enumerate(self._points):
            x = np.array([timeline.across(iteration) for iteration in iterations])
            y = np.array([self._height(error) for error in errors])
            style = _LINE_STYLES[number % len(_LINE_STYLES)]
            colour = colours[number] if several else theme.curve
            shared: dict[str, Any] = {"transform": figure.figure.dpi_scale_trans, "solid_joinstyle": "round"}
            shared["linestyle"] = style
            figure.figure.add_artist(Line2D(x, y, color=theme.curve_ahead, linewidth=1.2, **shared))
            past = _Past(figure, x, y, style, colour)
            figure.figure.add_artist(past)
            figure.moving.append(past)
            self._past.append(past)
        self._values = self._add_values(figure, count, colours if several else [])
        figure.moving += [text for text in self._values if text]

    def show(self, moment: int) -> None:
        """Sets the curve to one moment of the schedule: evaluations up to it are past."""
        now = self._iterations[moment]
        for (iterations, errors), line, text in zip(self._points, self._past, self._values, strict=True):
            line.count = int(np.searchsorted(iterations, now, side="right"))
            if text is not None:
                text.set_text(f"{errors[line.count - 1]:.3g} %" if line.count else "\N{EN DASH}")

    def _height(self, error: float) -> float:
        bottom, scale, low = self._heights
        return bottom + scale * (math.log(max(error, self._least)) - low)

    def _add_values(self, figure: MovingFigure, count: float, colours: Sequence[Colour]) -> list[Text | None]:
        """The texts for the current errors, from the right, each behind a piece of its line where there are several."""
        right = figure.width - MARGIN
        texts: list[Text | None] = [None] * len(self._points)
        for number in reversed(range(len(self._points))):
            if not len(self._points[number][0]):
                continue
            texts[number] = figure.add_text(right, count, "", size=_VALUE_SIZE, fontweight="bold", ha="right")
            right -= _value_width()
            if colours:
                sample = Line2D(
                    [right - _SAMPLE_ROOM + 0.14, right - 0.10],
                    [count + 0.045] * 2,
                    color=colours[number],
                    linestyle=_LINE_STYLES[number % len(_LINE_STYLES)],
                    linewidth=1.7,
                    transform=figure.figure.dpi_scale_trans,
                )
                figure.figure.add_artist(sample)
                right -= _SAMPLE_ROOM
        figure.add_text(right - 0.05, count, _NAME, size=TEXT_SIZE, color=figure.theme.muted, ha="right")
        return texts


class _Past(Artist):
    """The first `count` of the points (E,) in inches, joined, with a dot on the last of them."""

    def __init__(
        self,
        figure: MovingFigure,
        x: npt.NDArray[np.float64],
        y: npt.NDArray[np.float64],
        style: Any,
        colour: Colour,
    ) -> None:
        super().__init__()
        # A still draws everything in this order: over the line of what is to come.
        self.set_zorder(3)
        self._points = np.stack([x, y], axis=-1)
        self._inches = figure.figure.dpi_scale_trans
        self._dashes = None if style == "-" else [_PAST_WIDTH * part for part in style[1]]
        self._colour, self._edge = (*colour, 1.0), (*figure.theme.panel, 1.0)
        self.count = 0

    def draw(self, renderer: Any) -> None:
        """Straight through the renderer, as the panels are."""
        if not self.count or not self.get_visible():
            return
        inches = Affine2D(self._inches.get_matrix())
        gc = renderer.new_gc()
        gc.set_linewidth(_PAST_WIDTH)
        gc.set_foreground(self._colour, isRGBA=True)
        gc.set_dashes(0, self._dashes)
        renderer.draw_path(gc, Path(self._points[: self.count]), inches)
        gc.set_dashes(0, None)
        gc.set_linewidth(0.9)
        gc.set_foreground(self._edge, isRGBA=True)
        x, y = inches.transform(self._points[self.count - 1])
        radius = renderer.points_to_pixels(_PAST_DOT / 2)
        renderer.draw_path(gc, Path.unit_circle(), Affine2D.from_values(radius, 0, 0, radius, x, y), self._colour)
        gc.restore()


def _labels(least: float, most: float, height: float) -> list[float]:
    """Round percentages between the ends, as many as stand apart; the ends themselves where no two are round."""
    inside = [value for value in _LABELS if least * 0.999 <= value <= most * 1.001]
    if len(inside) < 2:
        inside = [float(f"{least:.3g}"), float(f"{most:.3g}")]
    scale = (height - 2 * _INSET) / math.log(most / least)
    chosen = [inside[0]]
    for value in inside[1:]:
        if scale * math.log(value / chosen[-1]) >= 0.15:
            chosen.append(value)
    return chosen
