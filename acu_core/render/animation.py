"""A run's snapshots as an animation, or as a still of the last shapes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from acu_core.render.colours import LIGHT, Theme
from acu_core.render.frame_schedule import FrameSchedule, choose_frame_count, plan_frames
from acu_core.render.layout import Layout, plan_layout
from acu_core.render.picture_file import LARGEST_BYTES, Progress, RenderReport, check_output, write_picture
from acu_core.render.recording import Recording, Warn, load_recording, python_warning
from acu_core.render.shape_figure import ShapeFigure, visible_reach
from acu_core.runs.run_directory import RunDirectory

_TRAIL_POINTS = 150
# Seen: bytes a frame for each synapse and each pixel of its panel's side.
_BYTES_PER_LINE_PIXEL = {".gif": 1.0, ".webp": 2.0, ".mp4": 0.4}


def default_output(source: str | os.PathLike[str]) -> Path:
    """Where the animation of a run goes when nobody says: figures/shapes.gif in it, or beside a lone positions.bin."""
    path = Path(source)
    return path.with_suffix(".gif") if path.is_file() else RunDirectory.open(path).figures / "shapes.gif"


def render_animation(
    source: RunDirectory | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    frames: int | None = None,
    fps: float | None = None,
    first: int | None = None,
    last: int | None = None,
    layers: Sequence[str] | None = None,
    width: int | None = None,
    theme: Theme = LIGHT,
    progress: Progress | None = None,
    warn: Warn = python_warning,
) -> RenderReport:
    """Draws a run, or a `positions.bin`, into `output`, whose suffix is the format.

    Args:
        source: a run or a snapshot file; the run may still be going on.
        output: .gif, .webp or .mp4; .png, .svg and .pdf are stills of the last shapes with their trails.
        frames: how many; None takes as many as the motion needs and a file below 2 MB allows.
        fps: frames a second, 20 by default; GIF rounds a frame's time to 10 ms.
        first: iteration to begin with.
        last: iteration to end with, included.
        layers: names, or patterns with `*`; None takes all.
        width: in pixels; 800 by default, less for one or two columns of panels.
        theme: the colours.
        progress: called with (frames drawn, frames in all).
        warn: told what of the run is damaged and was left out; by default a warning of Python's.

    Raises:
        UserError: for options that cannot be met. The file at `output` is then as it was before.
    """
    began = time.perf_counter()
    check_output(output, frames=frames, fps=fps, width=width)
    recording = load_recording(source, first=first, last=last, layers=layers, warn=warn)
    layout = plan_layout(len(recording.positions))
    dots_per_inch = 100.0 if width is None else width / layout.width
    wanted = _automatic_frames(recording, layout, dots_per_inch, Path(output).suffix.lower())
    report = write_picture(
        lambda drawn: ShapeFigure(recording, _plan(recording, drawn), layout, dots_per_inch, theme),
        output,
        theme=theme,
        frames=frames,
        wanted=wanted,
        fps=fps,
        progress=progress,
    )
    return replace(report, seconds=time.perf_counter() - began)


def _plan(recording: Recording, frames: int) -> FrameSchedule:
    return plan_frames(
        recording.all_synapses(), recording.iterations, recording.warm_up, frames=frames, trail_points=_TRAIL_POINTS
    )


def _automatic_frames(recording: Recording, layout: Layout, dots_per_inch: float, suffix: str) -> int:
    if suffix not in _BYTES_PER_LINE_PIXEL:
        return 1
    pixels_per_unit = layout.panel * dots_per_inch / (2 * visible_reach(recording))
    synapses = recording.all_synapses()
    wanted = choose_frame_count(synapses, pixels_per_unit)
    # Only a first guess, which saves drawing twice.
    expected_bytes = _BYTES_PER_LINE_PIXEL[suffix] * synapses.shape[1] * layout.panel * dots_per_inch
    return min(wanted, int(LARGEST_BYTES / expected_bytes))
