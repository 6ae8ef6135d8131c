"""A run's snapshots as an animation, or as a still of the last shapes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acu_core.durable import write_durably
from acu_core.errors import UserError
from acu_core.render.animation_file import ANIMATIONS, STILLS, encode_animation, require_encoder
from acu_core.render.frame_schedule import FrameSchedule, choose_frame_count, plan_frames
from acu_core.render.layout import Layout, plan_layout
from acu_core.render.picture import Picture
from acu_core.render.recording import Recording, Warn, load_recording, python_warning
from acu_core.render.shape_figure import ShapeFigure, visible_reach
from acu_core.runs.run_directory import RunDirectory

Progress = Callable[[int, int], None]

_DEFAULT_FPS = 20.0
_FIRST_MILLISECONDS = 600
_LAST_MILLISECONDS = 1800
_TRAIL_POINTS = 150
_PALETTE_SAMPLES = 6
# What an animation without --frames may weigh: a README with it still opens quickly.
_LARGEST_BYTES = 2_000_000
_FEWEST_AUTOMATIC_FRAMES = 24
# Seen: bytes a frame for each synapse and each pixel of its panel's side.
_BYTES_PER_LINE_PIXEL = {".gif": 1.0, ".webp": 2.0, ".mp4": 0.4}


@dataclass(frozen=True)
class RenderReport:
    """What was written, and how long drawing took."""

    path: Path
    frames: int
    fps: float
    width: int
    height: int
    bytes: int
    seconds: float


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
        progress: called with (frames drawn, frames in all).
        warn: told what of the run is damaged and was left out; by default a warning of Python's.

    Raises:
        UserError: for options that cannot be met. The file at `output` is then as it was before.
    """
    began = time.perf_counter()
    path = Path(output)
    suffix = path.suffix.lower()
    _check_options(path, suffix, frames, fps, width)
    require_encoder(suffix)
    recording = load_recording(source, first=first, last=last, layers=layers, warn=warn)
    layout = plan_layout(len(recording.positions))
    dots_per_inch = 100.0 if width is None else width / layout.width
    report_progress = progress or (lambda done, total: None)
    milliseconds = _frame_milliseconds(suffix, fps)

    drawn = 1 if suffix in STILLS else (frames or _automatic_frames(recording, layout, dots_per_inch, suffix))
    while True:
        picture: Picture = ShapeFigure(recording, _plan(recording, drawn), layout, dots_per_inch)
        if suffix in STILLS:
            content = _encode_still(picture, suffix)
            report_progress(1, 1)
        else:
            content = _encode_frames(picture, suffix, milliseconds, report_progress)
        fits = len(content) <= _LARGEST_BYTES or picture.frames <= _FEWEST_AUTOMATIC_FRAMES
        if fits or frames is not None or suffix in STILLS:
            break
        drawn = max(_FEWEST_AUTOMATIC_FRAMES, int(picture.frames * 0.95 * _LARGEST_BYTES / len(content)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, lambda file: file.write(content))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    across, up = picture.size
    return RenderReport(
        path, picture.frames, 1000 / milliseconds, across, up, len(content), time.perf_counter() - began
    )


def _plan(recording: Recording, frames: int) -> FrameSchedule:
    return plan_frames(
        recording.all_synapses(), recording.iterations, recording.warm_up, frames=frames, trail_points=_TRAIL_POINTS
    )


def _automatic_frames(recording: Recording, layout: Layout, dots_per_inch: float, suffix: str) -> int:
    pixels_per_unit = layout.panel * dots_per_inch / (2 * visible_reach(recording))
    synapses = recording.all_synapses()
    wanted = choose_frame_count(synapses, pixels_per_unit)
    # Only a first guess, which saves drawing twice.
    expected_bytes = _BYTES_PER_LINE_PIXEL[suffix] * synapses.shape[1] * layout.panel * dots_per_inch
    return max(_FEWEST_AUTOMATIC_FRAMES, min(wanted, int(_LARGEST_BYTES / expected_bytes)))


def _frame_milliseconds(suffix: str, fps: float | None) -> int:
    exact = 1000 / (fps or _DEFAULT_FPS)
    # Browsers slow a GIF of less than 20 ms a frame down to 100.
    return max(20, 10 * round(exact / 10)) if suffix == ".gif" else max(1, round(exact))


def _encode_still(picture: Picture, suffix: str) -> bytes:
    picture.show(picture.frames - 1)
    buffer = BytesIO()
    # Without a date, so that the same run gives the same file.
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
    picture.figure.savefig(buffer, format=suffix[1:], dpi=picture.figure.dpi, metadata=metadata)
    return buffer.getvalue()


def _encode_frames(picture: Picture, suffix: str, milliseconds: int, progress: Progress) -> bytes:
    count = picture.frames
    durations = [milliseconds] * count
    if count > 1:
        durations[0] = max(milliseconds, _FIRST_MILLISECONDS)
        durations[-1] = max(milliseconds, _LAST_MILLISECONDS)
    samples: list[npt.NDArray[np.uint8]] = []
    if suffix == ".gif":
        chosen = np.unique(np.linspace(0, count - 1, _PALETTE_SAMPLES).round().astype(int))
        samples = [picture.pixels(int(frame)) for frame in chosen]

    def draw() -> Iterator[npt.NDArray[np.uint8]]:
        for frame in range(count):
            yield picture.pixels(frame)
            progress(frame + 1, count)

    return encode_animation(suffix, draw(), samples, durations, milliseconds)


def _check_options(path: Path, suffix: str, frames: int | None, fps: float | None, width: int | None) -> None:
    if suffix not in ANIMATIONS + STILLS:
        raise UserError(f"{path} must end with one of {', '.join(ANIMATIONS + STILLS)}: the end is the format")
    if path.is_dir():
        raise UserError(f"{path} is a directory: give a file's name")
    if frames is not None and not 1 <= frames <= 10_000:
        raise UserError(f"frames must be 1 to 10000, got {frames}")
    if fps is not None and not (math.isfinite(fps) and 0.1 <= fps <= 100):
        raise UserError(f"frames a second must be 0.1 to 100, got {fps}")
    if width is not None and not 200 <= width <= 4000:
        raise UserError(f"the width must be 200 to 4000 pixels, got {width}")
