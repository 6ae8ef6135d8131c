"""The picture of a receptive field: the fixed grid beside the learned positions, above how wide it was when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.colors import PowerNorm

from acu_core.render.field_colours import FieldTheme
from acu_core.render.field_panel import Field, FieldPanel, Ring
from acu_core.render.frame_schedule import FrameSchedule
from acu_core.render.layout import MARGIN, TEXT_SIZE, TITLE_SIZE
from acu_core.render.legend import Entry, add_legend, fitting, line, ring, triangle
from acu_core.render.moving_figure import FONT, MovingFigure, drawable, text_width
from acu_core.render.radius_curve import RadiusCurve
from acu_core.render.recording import Recording
from acu_core.render.shape_figure import fit_names
from acu_core.render.timeline import Timeline

WIDTH = 8.0
# Of the numbers of the pixels left of the panels, and of the radii left of the curve.
_NUMBERS = 0.42
_GAP = 0.2
_SIDE = (WIDTH - 2 * MARGIN - _NUMBERS - _GAP) / 2
_LEFT = MARGIN + _NUMBERS
_CURVE = 0.14, 0.66
_BAR = 1.12, 0.07
_COUNT = 1.37
_PANELS = 1.83
_NAME = 0.09
_NAME_SIZE = 10.0
_HEADER = 1.0
_SCALE_WIDTH = 2.2
_TITLE_ROOM = WIDTH - 2 * MARGIN - _SCALE_WIDTH - 0.3


@dataclass(frozen=True)
class FieldFrames:
    """The fields `learned` (P,) at the moments (P,) of a schedule, each a recorded snapshot of the recording.

    The fields between the frames are only points of the curve.
    """

    recording: Recording
    schedule: FrameSchedule
    learned: Sequence[Field]
    fixed: Field
    weights: int
    """The iteration of the weights, the same ones in all fields."""
    title: str


def default_title(name: str) -> str:
    """What stands over the field of a run that is called so."""
    looks = "where the centre unit looks"
    if not name:
        return looks
    room = _TITLE_ROOM - text_width(f": {looks}", TITLE_SIZE, bold=True)
    (shown,), _ = fit_names([drawable(name)], room, (TITLE_SIZE,))
    return f"{shown}: {looks}"


class FieldFigure:
    """Draws any frame of `FieldFrames`, (H, W) pixels of the input on either side."""

    def __init__(self, fields: FieldFrames, dots_per_inch: float, theme: FieldTheme) -> None:
        self._fields, self._theme = fields, theme
        shape = np.asarray(fields.fixed.map).shape
        # The longer side is that of a square: the picture never grows beyond its width.
        up, across = _SIDE * min(1.0, shape[0] / shape[1]), _SIDE * min(1.0, shape[1] / shape[0])
        drawing = self._drawing = MovingFigure(WIDTH, _PANELS + up + _HEADER, dots_per_inch, theme)
        self.figure, self.size = drawing.figure, drawing.size
        # Arrays at once: the process that draws a frame may be a fork, in which nothing of PyTorch is to be called.
        self._maps = [np.asarray(field.map) for field in fields.learned]
        largest = max(float(values.max()) for values in (np.asarray(fields.fixed.map), *self._maps))
        scale = PowerNorm(0.5, vmin=0.0, vmax=largest)
        self._add_header()
        self._add_scale(scale, largest)

        lefts = _LEFT, _LEFT + _SIDE + _GAP
        fixed, learned = (
            FieldPanel(drawing, (left, _PANELS, across, up), (shape[0], shape[1]), theme.colour_map, scale, rows=rows)
            for left, rows in zip(lefts, (True, False), strict=True)
        )
        fixed.show(np.asarray(fields.fixed.map))
        Ring(drawing, fixed.axes, dashed=True).show(fields.fixed)
        before = Ring(drawing, learned.axes, dashed=True, point=False)
        before.show(fields.fixed)
        self._learned, self._ring = learned, Ring(drawing, learned.axes, dashed=False)
        drawing.moving += [learned.image, *learned.axes.spines.values(), *before.artists, *self._ring.artists]

        names = _PANELS + up + _NAME
        for left, name in zip(lefts, ("fixed grid", "learned"), strict=True):
            drawing.add_text(left, names, name, size=_NAME_SIZE, fontweight="bold")
        right = lefts[1] + _SIDE
        drawing.add_text(lefts[0] + _SIDE, names, _radius(fields.fixed), size=_NAME_SIZE, ha="right")
        self._radius = drawing.add_text(right, names, "", size=_NAME_SIZE, ha="right")
        drawing.moving.append(self._radius)

        count_room = text_width(f"iteration {fields.schedule.iterations[-1]:,}", TITLE_SIZE, bold=True) + 0.2
        entries = fitting(self._legend(), right - MARGIN - count_room)
        add_legend(drawing, entries, right, _COUNT)
        self._timeline = Timeline(
            drawing,
            (_LEFT, _BAR[0], right - _LEFT, _BAR[1]),
            _COUNT,
            fields.schedule,
            [fields.recording],
            [theme.ink],
            room=count_room,
        )
        self._curve = RadiusCurve(
            drawing,
            (_LEFT, _CURVE[0], right - _LEFT, _CURVE[1]),
            fields.schedule.at_moments(),
            np.array([field.radius for field in fields.learned]),
            fields.fixed.radius,
        )

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self._fields.schedule.frames)

    def pixels(self, frame: int) -> npt.NDArray[np.uint8]:
        """Frame `frame` as RGB, (height, width, 3)."""
        self.show(frame)
        return self._drawing.drawn()

    def view(self, frame: int) -> npt.NDArray[np.uint8]:
        """As `pixels`, but only until another frame is drawn."""
        self.show(frame)
        return self._drawing.view()

    def show(self, frame: int) -> None:
        """Sets everything that moves to frame `frame`."""
        moment = int(self._fields.schedule.frames[frame])
        field, fixed = self._fields.learned[moment], self._fields.fixed
        self._learned.show(self._maps[moment])
        self._ring.show(field)
        change = f"  {100 * (field.radius / fixed.radius - 1):+.1f} %" if fixed.radius else ""
        self._radius.set_text(_radius(field) + change.replace("-", "\N{MINUS SIGN}"))
        self._curve.show(moment)
        self._timeline.show(moment)

    def _legend(self) -> list[Entry]:
        theme, recording, schedule = self._theme, self._fields.recording, self._fields.schedule
        entries = [
            ring(9, 1.6, theme.ink, "RMS radius of what is learned", rank=3, brief="RMS radius learned"),
            line(theme.group(0), "the same below", rank=2),
            line(theme.muted, "that of the fixed grid", dashed=True, rank=3, brief="fixed grid"),
        ]
        drops = recording.curve.drops if recording.curve else np.zeros(0)
        if np.any((drops >= schedule.iterations[0]) & (drops <= schedule.iterations[-1])):
            entries.append(triangle(theme.ink, "learning rate falls"))
        return entries

    def _add_header(self) -> None:
        drawing = self._drawing
        (title,), size = fit_names([drawable(self._fields.title)], _TITLE_ROOM, (TITLE_SIZE,))
        drawing.add_text(MARGIN, drawing.height - 0.31, title, size=size, fontweight="bold")
        said = f"how much each pixel can count, at most; weights of iteration {self._fields.weights:,} in both"
        drawing.add_text(MARGIN, drawing.height - 0.55, said, size=9, color=self._theme.muted)

    def _add_scale(self, scale: PowerNorm, largest: float) -> None:
        drawing, theme = self._drawing, self._theme
        left, bottom = WIDTH - MARGIN - _SCALE_WIDTH, drawing.height - 0.41
        label = "share in each pixel, square-root scale"
        drawing.add_text(left + _SCALE_WIDTH, bottom + 0.14, label, size=TEXT_SIZE, color=theme.muted, ha="right")
        axes = drawing.add_axes(left, bottom, _SCALE_WIDTH, 0.09)
        # The places along it are square roots.
        steps = np.linspace(0, 1, 256)[None] ** 2 * largest
        axes.imshow(steps, cmap=theme.colour_map, norm=scale, aspect="auto", extent=(0.0, 1.0, 0.0, 1.0))
        for spine in axes.spines.values():
            spine.set(color=theme.border, linewidth=0.8)
        shares = _shares(largest)
        axes.set_xticks([(share / largest) ** 0.5 for share in shares])
        axes.set_xticklabels([f"{100 * share:g} %" if share else "0" for share in shares], fontfamily=FONT)
        axes.tick_params(length=2.5, width=0.8, pad=2, labelsize=TEXT_SIZE, color=theme.border, labelcolor=theme.muted)


def _radius(field: Field) -> str:
    return f"RMS radius {field.radius:.2f} px"


def _shares(largest: float) -> list[float]:
    """Round shares up to the largest: 0, one that fills most of the scale, and one about halfway."""
    rounds = [step * 10.0**power for power in range(-9, 1) for step in (1, 2, 5)]
    most = max((value for value in rounds if value <= largest), default=largest)
    middle = max((value for value in rounds if value <= 0.3 * most), default=0.0)
    return [0.0, middle, most]
