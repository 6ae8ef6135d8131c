"""The picture itself: panels of shapes over a time line and a curve, of one run or of several beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from acu_core.render.colours import Colour, Theme
from acu_core.render.error_curve import ErrorCurve, has_errors, words_room
from acu_core.render.frame_schedule import FrameSchedule, at_iterations, crosses_gap, gaps
from acu_core.render.layer_names import short_names, stages
from acu_core.render.layout import MARGIN, TEXT_SIZE, TITLE_SIZE, picture_width, plan_layout
from acu_core.render.legend import Entry, add_legend, cell, dots, first_place, fitting, line, line_width, ring, triangle
from acu_core.render.moving_figure import MovingFigure, drawable, text_width
from acu_core.render.moving_shapes import MovingShapes
from acu_core.render.recording import Recording
from acu_core.render.run_key import RunKey
from acu_core.render.shape_panel import ShapePanel, dot_diameters, ghost_ring, reach_of_dots
from acu_core.render.timeline import Timeline

_NAME_SIZES = (10.0, 9.0, TEXT_SIZE)
_LEGEND_GROUPS = 4
_LEGEND_NORMS = (0.8, 1.0, 1.2)
# The legend's marks are those of a panel of this side at most, to fit into a line.
_LEGEND_SIDE = 2.0


def visible_reach(recordings: Sequence[Recording], side: float) -> float:
    """Half of every panel in input pixels, one for all: it holds every dot of every frame. `side` is in inches."""
    reach = max(float(np.abs(p).max()) for recording in recordings for p in recording.positions.values())
    for recording in recordings:
        if recording.hidden is not None:
            reach = max(reach, float(np.abs(recording.hidden).max()))
    reach = max(1.8, 1.06 * reach + 0.3)
    for recording in recordings:
        for name, positions in recording.positions.items():
            reach = reach_of_dots(positions, recording.weight_norms[name], side, reach)
    return reach


def all_layers(recordings: Sequence[Recording]) -> list[str]:
    """The layers of all recordings: those of the first in their order, then what the others have besides."""
    return list(dict.fromkeys(name for recording in recordings for name in recording.positions))


def fit_names(names: Sequence[str], room: float, sizes: Sequence[float] = _NAME_SIZES) -> tuple[list[str], float]:
    """The names in bold letters of the largest of the sizes in which all fit into `room` inches, else shortened."""
    for size in sizes:
        if all(text_width(name, size, bold=True) <= room for name in names):
            return list(names), size
    for letters in range(max(map(len, names)), 5, -1):
        shown = short_names(names, letters)
        if all(text_width(name, sizes[-1], bold=True) <= room for name in shown):
            break
    return shown, sizes[-1]


class ShapeFigure:
    """Draws any frame of one recording, or of several that share a time line and a scale.

    `title` stands over one recording; several are named by the legend, and `title`, where given, stands over it.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        schedule: FrameSchedule,
        *,
        theme: Theme,
        width: int | None = None,
        title: str | None = None,
    ) -> None:
        self.schedule, self._recordings, self._theme = schedule, recordings, theme
        names = all_layers(recordings)
        several = len(recordings) > 1
        groups = max(p.shape[1] for recording in recordings for p in recording.positions.values())
        # Groups need the colours for themselves: then runs are told apart by their place and their line.
        self._colours: list[Colour] = [theme.ink] * len(recordings) if groups > 1 else list(theme.groups)
        self._groups = groups
        # Below 100 dots an inch the smallest text would have less than 11 pixels.
        inches = None if width is None else width / 100
        across = picture_width(len(names), len(recordings), inches)
        heading = drawable(title if title is not None else "" if several else recordings[0].title)
        entries = fitting(self._legend(_LEGEND_SIDE), across - 2 * MARGIN)
        beside = line_width(entries) + text_width(heading, TITLE_SIZE, bold=True) + 0.3 < across - 2 * MARGIN
        self._key = RunKey(schedule, recordings, across - 2 * MARGIN) if several else None
        layout = plan_layout(
            [len(stage) for stage in stages(names)],
            abreast=len(recordings),
            title=bool(heading),
            lines=(self._key.lines if self._key else 0) + (0 if beside and heading else 1),
            curve=has_errors(recordings, schedule),
            across=inches,
        )
        dots_per_inch = 100.0 if width is None else width / layout.width
        self.layout = layout
        self.drawing = MovingFigure(layout.width, layout.height, dots_per_inch, theme)
        self.figure, self.size = self.drawing.figure, self.drawing.size
        self._add_header(heading, entries)
        self.panels = self._add_panels(names)
        self.shapes = MovingShapes(self.figure, self.panels, theme)
        self.figure.add_artist(self.shapes.old_trails)
        self.figure.add_artist(self.shapes)
        self.drawing.seldom_moving.append(self.shapes.old_trails)
        self.drawing.moving.append(self.shapes)
        self.timeline = Timeline(
            self.drawing,
            layout.bar,
            layout.count,
            schedule,
            recordings,
            self._colours,
            room=layout.width - 2 * MARGIN - (words_room(len(recordings)) if layout.curve else 0),
        )
        self.curve = (
            ErrorCurve(self.drawing, layout.curve, layout.count, schedule, recordings, self.timeline, self._colours)
            if layout.curve
            else None
        )

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.schedule.frames)

    def pixels(self, frame: int) -> npt.NDArray[np.uint8]:
        """Frame `frame` as RGB, (height, width, 3)."""
        self.show(frame)
        return self.drawing.drawn()

    def view(self, frame: int) -> npt.NDArray[np.uint8]:
        """As `pixels`, but only until another frame is drawn."""
        self.show(frame)
        return self.drawing.view()

    def show(self, frame: int) -> None:
        """Sets everything that moves to frame `frame`."""
        moment = int(self.schedule.frames[frame])
        self.shapes.show(moment)
        self.timeline.show(moment)
        for part in (self._key, self.curve):
            if part is not None:
                part.show(moment)

    def _add_header(self, heading: str, entries: Sequence[Entry]) -> None:
        layout, drawing = self.layout, self.drawing
        room = layout.width - 2 * MARGIN
        if layout.title is not None:
            (shown,), size = fit_names([heading], room, (TITLE_SIZE,))
            drawing.add_text(MARGIN, layout.title, shown, size=size, fontweight="bold")
        keys = self._key.lines if self._key else 0
        if self._key:
            self._key.add_to(drawing, layout.lines[:keys], self._colours if self._groups == 1 else None)
        baseline = layout.lines[-1] if len(layout.lines) > keys else layout.title
        assert baseline is not None
        add_legend(drawing, entries, layout.width - MARGIN, baseline)

    def _add_panels(self, names: Sequence[str]) -> list[ShapePanel]:
        layout, drawing, theme = self.layout, self.drawing, self._theme
        for left, right, height in layout.brackets:
            drawing.add_line([(left, height), (right, height)], theme.border, 1.2)
        shown, size = fit_names([drawable(name) for name in names], layout.cell)
        reach = visible_reach(self._recordings, layout.panel)
        iterations = self.schedule.at_moments()
        unknown = [crosses_gap(recording.iterations, iterations) for recording in self._recordings]
        panels = []
        for index, (name, short) in enumerate(zip(names, shown, strict=True)):
            left, bottom = layout.corners[index]
            drawing.add_text(left + 0.01, bottom + layout.panel + 0.06, short, size=size, fontweight="bold")
            for number, recording in enumerate(self._recordings):
                if name not in recording.positions:
                    self._add_empty_place(index, number)
                    continue
                values = recording.positions[name]
                groups = values.shape[1]
                several = len(self._recordings) > 1 and self._groups == 1
                tints = (self._colours[number],) if several else tuple(theme.group(group) for group in range(groups))
                panel = ShapePanel(
                    drawing.add_axes(*layout.place(index, number)),
                    at_iterations(values, recording.iterations, iterations),
                    at_iterations(recording.weight_norms[name], recording.iterations, iterations),
                    recording.hidden,
                    reach=reach,
                    side=layout.panel,
                    theme=theme,
                    tints=tints,
                    unknown=unknown[number],
                )
                panels.append(panel)
        return panels

    def _add_empty_place(self, index: int, number: int) -> None:
        left, bottom, side, _ = self.layout.place(index, number)
        axes = self.drawing.add_axes(left, bottom, side, side)
        axes.set_facecolor(self._theme.paper)
        for spine in axes.spines.values():
            spine.set(color=self._theme.border, linewidth=0.8, linestyle="dashed")
        words = "no such\nlayer" if side < 1.2 else "no such layer"
        self.drawing.add_text(
            left + side / 2, bottom + side / 2, words, size=TEXT_SIZE, color=self._theme.muted, ha="center", va="center"
        )

    def _legend(self, side: float) -> list[Entry]:
        theme = self._theme
        hidden = any(recording.hidden is not None for recording in self._recordings)
        drops = any(
            recording.curve is not None
            and bool(
                np.any(
                    (recording.curve.drops >= self.schedule.iterations[0])
                    & (recording.curve.drops <= self.schedule.iterations[-1])
                )
            )
            for recording in self._recordings
        )
        accent = theme.muted if len(self._recordings) > 1 or self._groups > 1 else theme.group(0)
        entries = []
        if self._groups > 1:
            for group in range(min(self._groups, _LEGEND_GROUPS)):
                entries.append(dots([7.6], theme.group(group), f"group {group + 1}", rank=2))
        sizes = dot_diameters(_LEGEND_NORMS, side)
        norms = f"weight norm: {', '.join(f'{norm:g}' for norm in _LEGEND_NORMS)} of the mean"
        entries.append(dots(list(sizes), accent, norms, rank=4, brief="weight norm"))
        entries.append(first_place(*ghost_ring(side), theme.ghost, _first_place(self._recordings), rank=4))
        if hidden:
            entries.append(ring(11, 1.8, theme.hidden, "hidden", rank=5))
        if any(gaps(recording.iterations).any() for recording in self._recordings):
            entries.append(line(theme.fade(accent, np.full(1, 0.7))[0], "interpolated", dashed=True, rank=5))
        if drops:
            entries.append(triangle(theme.ink, "learning rate falls", rank=1))
        entries.append(cell("input pixel", rank=0))
        return entries


def _first_place(recordings: Sequence[Recording]) -> str:
    """What the rings show: where recording began, or where the drawn part of it does."""
    if not any(recording.shortened for recording in recordings):
        return "start"
    first, *others = {int(recording.iterations[0]) for recording in recordings}
    return "first shown" if others else f"at {first:,}"
