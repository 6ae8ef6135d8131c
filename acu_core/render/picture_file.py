"""Any picture as a file: an animation, or a still of its last frame."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from acu_core.durable import write_durably
from acu_core.errors import UserError
from acu_core.render.animation_file import ANIMATIONS, STILLS, encode_animation, require_encoder
from acu_core.render.colours import Theme
from acu_core.render.picture import Picture
from acu_core.render.still_file import encode_still

Progress = Callable[[int, int], None]
MakePicture = Callable[[int], Picture]
"""Makes the picture of so many frames; it may have fewer."""

FEWEST_AUTOMATIC_FRAMES = 24
# What an animation may weigh when nobody says how many frames it has: a README with it still opens quickly.
LARGEST_BYTES = 2_000_000
_DEFAULT_FPS = 20.0
_FIRST_MILLISECONDS = 600
_LAST_MILLISECONDS = 1800


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


def is_still(output: str | os.PathLike[str], frames: int | None = None) -> bool:
    """Whether the file that is called so holds one frame only: a .png does unless more are asked for."""
    suffix = Path(output).suffix.lower()
    return suffix in STILLS and (suffix not in ANIMATIONS or (frames or 1) == 1)


def check_suffix(output: str | os.PathLike[str], *others: str) -> None:
    """Raises UserError unless the end of the name is a picture's format, or one of `others` that the caller writes."""
    formats = tuple(dict.fromkeys((*ANIMATIONS, *STILLS, *others)))
    if Path(output).suffix.lower() not in formats:
        raise UserError(f"{output} must end with one of {', '.join(formats)}: the end is the format")


def check_output(
    output: str | os.PathLike[str],
    *,
    frames: int | None,
    fps: float | None,
    width: int | None,
    narrowest: int,
    iteration: int | None = None,
) -> None:
    """Raises UserError, before any work is done, for what cannot be met."""
    check_suffix(output)
    path = Path(output)
    suffix = path.suffix.lower()
    if path.is_dir():
        raise UserError(f"{path} is a directory: give a file's name")
    if frames is not None and not 1 <= frames <= 10_000:
        raise UserError(f"frames must be 1 to 10000, got {frames}")
    if (frames or 1) > 1 and suffix not in ANIMATIONS:
        raise UserError(f"a {suffix} holds one picture, not {frames} frames: write one of {', '.join(ANIMATIONS)}")
    if iteration is not None and not is_still(path, frames):
        raise UserError(f"one iteration is a still, {path.name} an animation: write one frame, as {', '.join(STILLS)}")
    if fps is not None and not (math.isfinite(fps) and 0.1 <= fps <= 100):
        raise UserError(f"frames a second must be 0.1 to 100, got {fps}")
    if width is not None and not narrowest <= width <= 4000:
        why = ": narrower, its text could not be read" if width < narrowest else ""
        raise UserError(f"the width of this picture must be {narrowest} to 4000 pixels, got {width}{why}")
    require_encoder(suffix)


def write_picture(
    make: MakePicture,
    output: str | os.PathLike[str],
    *,
    theme: Theme,
    frames: int | None = None,
    wanted: int = FEWEST_AUTOMATIC_FRAMES,
    fps: float | None = None,
    progress: Progress | None = None,
) -> RenderReport:
    """Draws a picture into `output`, whose suffix is the format; `check_output` has found no fault with it.

    Args:
        make: makes the picture for a number of frames.
        output: .gif, .webp, .mp4, .webm, or .png with several `frames`; .svg, .pdf and any other .png are stills of the
            last frame.
        theme: whose colours the picture has, for the palette.
        frames: how many; None takes `wanted` or as many as a file below `LARGEST_BYTES` allows.
        wanted: how many frames the motion needs.
        fps: frames a second, 20 by default; GIF rounds a frame's time to 10 ms.
        progress: called with (frames drawn, frames in all).

    Raises:
        UserError: when the file cannot be written. The file at `output` is then as it was before.
    """
    began = time.perf_counter()
    path = Path(output)
    suffix = path.suffix.lower()
    report_progress = progress or (lambda done, total: None)
    milliseconds = _frame_milliseconds(suffix, fps)
    still = is_still(path, frames)
    drawn = 1 if still else (frames or max(FEWEST_AUTOMATIC_FRAMES, wanted))
    _make_directory(path)
    while True:
        picture = make(drawn)
        if still:
            picture.show(picture.frames - 1)
            content = encode_still(picture.figure, suffix)
            report_progress(1, 1)
        else:
            content = _encode_frames(picture, path, milliseconds, report_progress, theme)
        fits = len(content) <= LARGEST_BYTES or picture.frames <= FEWEST_AUTOMATIC_FRAMES
        if fits or frames is not None or still:
            break
        drawn = max(FEWEST_AUTOMATIC_FRAMES, int(picture.frames * 0.95 * LARGEST_BYTES / len(content)))
    with _naming(path):
        write_durably(path, lambda file: file.write(content))
    across, up = picture.size
    return RenderReport(
        path, picture.frames, 1000 / milliseconds, across, up, len(content), time.perf_counter() - began
    )


def _make_directory(path: Path) -> None:
    # Before drawing, which may take minutes, and not after it.
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """The user's error about a file that cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def _frame_milliseconds(suffix: str, fps: float | None) -> int:
    exact = 1000 / (fps or _DEFAULT_FPS)
    # Browsers slow a GIF of less than 20 ms a frame down to 100.
    return max(20, 10 * round(exact / 10)) if suffix == ".gif" else max(1, round(exact))


def _encode_frames(picture: Picture, path: Path, milliseconds: int, progress: Progress, theme: Theme) -> bytes:
    suffix = path.suffix.lower()
    count = picture.frames
    durations = [milliseconds] * count
    if count > 1:
        durations[0] = max(milliseconds, _FIRST_MILLISECONDS)
        durations[-1] = max(milliseconds, _LAST_MILLISECONDS)
    with _naming(path):
        return encode_animation(
            suffix, picture, durations, milliseconds, theme, path.parent, lambda done: progress(done, count)
        )
