"""A run's receptive field as an animation, or as a still of the last one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from acu_core.render.colours import LIGHT, Theme
from acu_core.render.field_colours import FieldTheme
from acu_core.render.field_figure import WIDTH, FieldFigure, FieldFrames, default_title
from acu_core.render.field_panel import Field
from acu_core.render.frame_schedule import FrameSchedule, Pace, plan_frames
from acu_core.render.moving_figure import letters_lacking
from acu_core.render.picture_file import Progress, RenderReport, check_output, write_picture
from acu_core.render.recording import Recording, Warn, load_recording, python_warning
from acu_core.runs.run_directory import RunDirectory

# Points of the curve of a still, which has one frame only.
_POINTS = 60
# Of an animation, when nobody says: each is a snapshot of its own, so more would show little more.
_WANTED = 100


class FieldSource(Protocol):
    """Whoever knows the network; what draws does not."""

    @property
    def iteration(self) -> int:
        """Of the weights."""

    def fixed_grid(self) -> Field:
        """The field of ordinary convolutions with these weights."""

    def learned(self, positions: Mapping[str, npt.NDArray[Any]]) -> Field:
        """The field with positions (G, K, 2) by layer."""


@dataclass(frozen=True)
class FieldReport(RenderReport):
    """What was written, and the RMS radii in pixels: of the fixed grid, of the first frame and of the last."""

    weights_iteration: int
    first_iteration: int
    last_iteration: int
    fixed_radius: float
    first_radius: float
    last_radius: float
    fixed_centre: tuple[float, float]
    """The mean place (y, x) in pixels of the input."""
    last_centre: tuple[float, float]


def render_receptive_field(
    source: RunDirectory | str | os.PathLike[str],
    open_fields: Callable[[], FieldSource],
    output: str | os.PathLike[str],
    *,
    frames: int | None = None,
    fps: float | None = None,
    first: int | None = None,
    last: int | None = None,
    iteration: int | None = None,
    width: int | None = None,
    theme: Theme = LIGHT,
    pace: Pace = Pace.MOVEMENT,
    title: str | None = None,
    progress: Progress | None = None,
    computing: Progress | None = None,
    warn: Warn = python_warning,
) -> FieldReport:
    """Draws the receptive field of a run into `output`; see `render_animation` for the options.

    Every frame is a recorded snapshot: its positions, and the weights of the source that `open_fields` gives once the
    options are known to be good. `computing` is called with (fields computed, fields in all).

    Raises UserError for options that cannot be met. The file at `output` is then as it was before.
    """
    began = time.perf_counter()
    check_output(output, frames=frames, fps=fps, width=width, narrowest=round(100 * WIDTH), iteration=iteration)
    recording = load_recording(source, first=first, last=last, warn=warn)
    if iteration is not None:
        recording.require(iteration)
    shown = default_title(recording.title) if title is None else title
    lacking = letters_lacking([recording.title if title is None else title])
    if lacking:
        warn(lacking)
    fields = open_fields()
    fixed = fields.fixed_grid()
    known: dict[int, Field] = {}
    colours = FieldTheme.of(theme)
    made: list[FieldFrames] = []

    def make(drawn: int) -> FieldFigure:
        schedule = _snapshots(recording, drawn, pace)
        if iteration is not None:
            schedule = schedule.only(iteration)
        numbers = schedule.moments.astype(np.int64).tolist()
        missing = [number for number in numbers if number not in known]
        for done, number in enumerate(missing, 1):
            known[number] = fields.learned({name: values[number] for name, values in recording.positions.items()})
            if computing is not None:
                computing(done, len(missing))
        made.append(
            FieldFrames(
                recording,
                schedule,
                [known[number] for number in numbers],
                fixed,
                weights=fields.iteration,
                title=shown,
            )
        )
        return FieldFigure(made[-1], 100.0 if width is None else width / WIDTH, colours)

    report = write_picture(make, output, theme=colours, frames=frames, wanted=_WANTED, fps=fps, progress=progress)
    drawn_fields = made[-1]
    last_shown = int(drawn_fields.schedule.frames[-1])
    return FieldReport(
        **vars(replace(report, seconds=time.perf_counter() - began)),
        weights_iteration=fields.iteration,
        first_iteration=int(drawn_fields.schedule.at_moments()[0]),
        last_iteration=int(drawn_fields.schedule.at_moments()[last_shown]),
        fixed_radius=fixed.radius,
        first_radius=drawn_fields.learned[0].radius,
        last_radius=drawn_fields.learned[last_shown].radius,
        fixed_centre=fixed.centre,
        last_centre=drawn_fields.learned[last_shown].centre,
    )


def _snapshots(recording: Recording, frames: int, pace: Pace) -> FrameSchedule:
    """The recorded snapshots nearest to the moments that the shapes' animation would show, none twice.

    A still shows the last of many, over the curve of all of them.
    """
    points = frames if frames > 1 else _POINTS
    planned = plan_frames([recording], frames=points, trail_points=points, pace=pace)
    moments = np.unique(np.round(planned.moments[planned.frames]))
    return FrameSchedule(planned.iterations, moments, np.arange(len(moments))[-1 if frames == 1 else 0 :], pace)


def default_field_output(run: str | os.PathLike[str]) -> Path:
    """Where the picture goes when nobody says: figures/receptive-field.gif in the run, or beside a lone file."""
    path = Path(run)
    if path.is_file():
        return path.with_name("receptive-field.gif")
    return RunDirectory.open(path).figures / "receptive-field.gif"
