"""The picture of a receptive field: the fixed grid beside the learned positions, above how wide it was when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap, PowerNorm

from acu_core.render.field_colours import FieldTheme
from acu_core.render.field_panel import Field, FieldPanel, Ring
from acu_core.render.moving_figure import FONT, MovingFigure, text_width
from acu_core.render.radius_curve import RadiusCurve
from acu_core.render.timeline import Timeline

WIDTH = 8.0
_MARGIN = 0.22
# Of the numbers of the pixels, left of the panels and below them.
_NUMBERS = 0.24
_GAP = 0.2
_SIDE = (WIDTH - 2 * _MARGIN - _NUMBERS - _GAP) / 2
_BAR = 0.28, 0.07
_CURVE = 0.74, 0.7
_PANELS = 1.94
_HEADER = 0.58
_SCALE_WIDTH = 1.9
_TITLE_SIZE = 10.5
_LOOKS = ": where the centre unit looks"
_SMALL_SIZE = 8.0


@dataclass(frozen=True)
class FieldFrames:
    """Fields `learned` (P,) at the recorded iterations (P,), ascending, and which of them are frames (F,), as indices.

    The fields between the frames are only points of the curve.
    """

    iterations: npt.NDArray[np.int64]
    learned: Sequence[Field]
    frames: npt.NDArray[np.int64]
    fixed: Field
    weights: int
    """The iteration of the weights, the same ones in all fields."""
    warm_up: int
    title: str


class FieldFigure:
    """Draws any frame of `FieldFrames`, (H, W) pixels of the input on either side."""

    def __init__(self, fields: FieldFrames, dots_per_inch: float, theme: FieldTheme) -> None:
        self._fields = fields
        height, width = np.asarray(fields.fixed.map).shape
        # Wide images are not drawn larger, so that the picture never grows beyond its width.
        side = _SIDE * min(1.0, width / height), _SIDE * min(1.0, height / width)
        top = _PANELS + side[1]
        drawing = self._drawing = MovingFigure(WIDTH, top + 0.3 + _HEADER, dots_per_inch, theme)
        self.figure, self.size = drawing.figure, drawing.size
        colours = theme.colour_map
        largest = max(float(np.asarray(field.map).max()) for field in (fields.fixed, *fields.learned))
        scale = PowerNorm(0.5, vmin=0.0, vmax=largest)
        self._header(colours, scale, largest)

        lefts = _MARGIN + _NUMBERS, _MARGIN + _NUMBERS + _SIDE + _GAP
        fixed, learned = (
            FieldPanel(drawing, (left, _PANELS, *side), (height, width), colours, scale, rows=left == lefts[0])
            for left in lefts
        )
        fixed.show(fields.fixed)
        Ring(drawing, fixed.axes, dashed=True).show(fields.fixed)
        before = Ring(drawing, learned.axes, dashed=True, point=False)
        before.show(fields.fixed)
        self._learned, self._ring = learned, Ring(drawing, learned.axes, dashed=False)
        drawing.moving += [learned.image, *learned.axes.spines.values(), *before.artists, *self._ring.artists]
        for left, name in zip(lefts, ("fixed grid", "learned positions"), strict=True):
            drawing.add_text(left, top + 0.09, name, size=9.5, fontweight="bold")
        drawing.add_text(lefts[0] + _SIDE, top + 0.09, _radius(fields.fixed), size=9.5, ha="right")
        self._radius = drawing.add_text(lefts[1] + _SIDE, top + 0.09, "", size=9.5, ha="right")
        drawing.moving.append(self._radius)

        across = WIDTH - 2 * _MARGIN
        radii = np.array([field.radius for field in fields.learned])
        self._curve = RadiusCurve(
            drawing,
            (_MARGIN, _CURVE[0], across, _CURVE[1]),
            fields.iterations,
            radii,
            fields.fixed.radius,
            warm_up=fields.warm_up,
        )
        self._timeline = Timeline(
            drawing,
            (_MARGIN, _BAR[0], across, _BAR[1]),
            fields.iterations[fields.frames].astype(np.float64),
            warm_up=fields.warm_up,
            groups=1,
            hidden=False,
        )

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self._fields.frames)

    def pixels(self, frame: int) -> npt.NDArray[np.uint8]:
        """Frame `frame` as RGB, (height, width, 3)."""
        self.show(frame)
        return self._drawing.drawn()

    def show(self, frame: int) -> None:
        """Sets everything that moves to frame `frame`."""
        point = int(self._fields.frames[frame])
        field, fixed = self._fields.learned[point], self._fields.fixed
        self._learned.show(field)
        self._ring.show(field)
        change = f"{100 * (field.radius / fixed.radius - 1):+.1f} %" if fixed.radius else ""
        self._radius.set_text(f"{_radius(field)}  {change}".replace("-", "\N{MINUS SIGN}").rstrip())
        self._curve.show(point)
        self._timeline.show(frame)

    def _header(self, colours: Colormap, scale: PowerNorm, largest: float) -> None:
        drawing, theme = self._drawing, self._drawing.theme
        first, second = drawing.height - 0.27, drawing.height - 0.46
        left, bottom = WIDTH - _MARGIN - _SCALE_WIDTH, first - 0.02
        label = "share in a pixel, on a square-root scale"
        room = left - 0.3 - text_width(label, _SMALL_SIZE) - _MARGIN
        title = _fitted(self._fields.title, room - text_width(_LOOKS, _TITLE_SIZE, bold=True), _TITLE_SIZE) + _LOOKS
        drawing.add_text(_MARGIN, first, title, size=_TITLE_SIZE, fontweight="bold")
        said = f"how much each pixel can count, at most; weights of iteration {self._fields.weights:,} in both"
        drawing.add_text(_MARGIN, second, said, size=8.5, color=theme.muted)
        axes = drawing.add_axes(left, bottom, _SCALE_WIDTH, 0.09)
        # The places along it are square roots.
        steps = np.linspace(0, 1, 256)[None] ** 2 * largest
        axes.imshow(steps, cmap=colours, norm=scale, aspect="auto", extent=(0.0, 1.0, 0.0, 1.0))
        for spine in axes.spines.values():
            spine.set(color=theme.border, linewidth=0.8)
        shares = _shares(largest)
        axes.set_xticks([(share / largest) ** 0.5 for share in shares])
        axes.set_xticklabels([f"{100 * share:g} %" if share else "0" for share in shares], fontfamily=FONT)
        axes.tick_params(
            length=2.5, width=0.8, pad=2, labelsize=_SMALL_SIZE, color=theme.border, labelcolor=theme.muted
        )
        drawing.add_text(left - 0.1, bottom - 0.01, label, size=_SMALL_SIZE, color=theme.muted, ha="right")


def _radius(field: Field) -> str:
    return f"RMS radius {field.radius:.2f} px"


def _shares(largest: float) -> list[float]:
    """Round shares up to the largest: 0, one that fills most of the scale, and one about halfway."""
    rounds = [step * 10.0**power for power in range(-9, 1) for step in (1, 2, 5)]
    most = max((value for value in rounds if value <= largest), default=largest)
    middle = max((value for value in rounds if value <= 0.3 * most), default=0.0)
    return [0.0, middle, most]


def _fitted(name: str, room: float, size: float) -> str:
    """A bold name that takes at most `room` inches, its middle left out where it must be."""
    letters = max(8, int(room / text_width("m", size, bold=True)))
    if len(name) <= letters:
        return name
    return name[: letters // 2] + "\N{HORIZONTAL ELLIPSIS}" + name[len(name) - (letters - 1) // 2 :]
