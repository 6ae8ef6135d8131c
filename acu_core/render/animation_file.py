"""A picture to the bytes of an animation: no more than a few frames are ever held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, features

from acu_core.errors import UserError
from acu_core.render.apng_stream import write_apng
from acu_core.render.colours import Theme
from acu_core.render.drawing_processes import draw_frames
from acu_core.render.gif_file import encode_gif
from acu_core.render.packed_pixels import Pixels
from acu_core.render.picture import Picture
from acu_core.render.video_file import VIDEOS, encode_video, require_ffmpeg

ANIMATIONS = (".gif", ".webp", ".png", *VIDEOS)
STILLS = (".png", ".svg", ".pdf")


def encode_animation(
    suffix: str,
    picture: Picture,
    milliseconds: Sequence[int],
    usual: int,
    theme: Theme,
    directory: Path,
    progress: Callable[[int], None] = lambda done: None,
    processes: int | None = None,
) -> bytes:
    """The file's bytes.

    `milliseconds` is each frame's duration, `usual` that of most; a palette has the colours of `theme`. A temporary may
    lie in `directory` meanwhile. `progress` is told how many frames are done. As many processes draw as there are
    cores, unless a number is given. Raises OSError when an encoder fails.
    """
    if suffix == ".gif":
        return encode_gif(picture, milliseconds, theme, progress=progress, processes=processes)
    # Closed, so that what draws ends whatever stops the encoder.
    with closing(draw_frames(picture, processes)) as drawn:
        return _encode_frames(suffix, _counted(drawn, progress), milliseconds, usual, directory)


def _counted(frames: Iterator[Pixels], progress: Callable[[int], None]) -> Iterator[Pixels]:
    for done, pixels in enumerate(frames, start=1):
        yield pixels
        progress(done)


def _encode_frames(
    suffix: str, frames: Iterator[Pixels], milliseconds: Sequence[int], usual: int, directory: Path
) -> bytes:
    if suffix == ".webp":
        return _encode_webp(frames, milliseconds)
    if suffix == ".png":
        return write_apng(frames, len(milliseconds), milliseconds)
    return encode_video(suffix, frames, milliseconds, usual, directory)


def require_encoder(suffix: str) -> None:
    """Raises UserError, before any work is done, when `suffix` needs something that is not installed."""
    if suffix in VIDEOS:
        require_ffmpeg(suffix)
    if suffix == ".webp" and not features.check("webp"):
        raise UserError("Pillow was built without WebP here: write a .gif or .png")


def _encode_webp(frames: Iterator[Pixels], milliseconds: Sequence[int]) -> bytes:
    buffer = BytesIO()
    _one_by_one(frames, len(milliseconds)).save(
        buffer, "WEBP", save_all=True, duration=list(milliseconds), loop=0, quality=80, method=2
    )
    return buffer.getvalue()


def _one_by_one(frames: Iterator[Pixels], count: int) -> Image.Image:
    """An image of `count` frames that takes each from the iterator when it is gone to; a list would hold them all."""
    # Any: an image file of Pillow's has `n_frames`, an image made from pixels has not.
    image: Any = Image.fromarray(next(frames))
    at = 0

    def seek(frame: int) -> None:
        nonlocal at
        # Having saved, Pillow goes back to the first.
        while at < frame:
            image.paste(Image.fromarray(next(frames)))
            at += 1

    image.n_frames, image.seek = count, seek
    made: Image.Image = image
    return made
