"""Frames to the bytes of a file: GIF, WebP, MP4."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from acu_core.errors import UserError
from acu_core.render.colours import Theme
from acu_core.render.gif_stream import Pixels, write_gif

ANIMATIONS = (".gif", ".webp", ".mp4")
STILLS = (".png", ".svg", ".pdf")


def encode_animation(
    suffix: str,
    frames: Iterator[Pixels],
    samples: Sequence[Pixels],
    milliseconds: Sequence[int],
    usual: int,
    theme: Theme,
) -> bytes:
    """The file's bytes.

    `samples` are some of the frames, for the palette; `milliseconds` is each frame's duration, `usual` that of most.
    """
    if suffix == ".gif":
        return write_gif(frames, samples, milliseconds, theme)
    if suffix == ".webp":
        return _encode_webp(frames, milliseconds)
    return _encode_mp4(frames, milliseconds, usual)


def require_encoder(suffix: str) -> None:
    """Raises UserError, before any work is done, when `suffix` needs something that is not installed."""
    if suffix == ".mp4":
        try:
            import imageio  # noqa: F401
            import imageio_ffmpeg  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
        except ImportError as error:
            raise UserError(
                "an .mp4 needs imageio and imageio-ffmpeg: pip install 'active-convolution[video]', "
                "or write a .gif or .webp"
            ) from error


def _encode_webp(frames: Iterator[Pixels], milliseconds: Sequence[int]) -> bytes:
    images = (Image.fromarray(pixels) for pixels in frames)
    buffer = BytesIO()
    next(images).save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=images,
        duration=list(milliseconds),
        loop=0,
        quality=80,
        method=2,
    )
    return buffer.getvalue()


def _encode_mp4(frames: Iterable[Pixels], milliseconds: Sequence[int], usual: int) -> bytes:
    import imageio.v2 as imageio

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "animation.mp4"
        # imageio's type stubs know only its oldest class of writers.
        writer: Any = imageio.get_writer(
            path,
            format="FFMPEG",  # type: ignore[arg-type,unused-ignore]
            fps=1000 / usual,
            codec="libx264",
            macro_block_size=2,
            pixelformat="yuv420p",
            output_params=["-crf", "20", "-movflags", "+faststart"],
        )
        with writer:
            for pixels, duration in zip(frames, milliseconds, strict=True):
                # A video has one rate: a frame that rests is written again.
                for _ in range(max(1, round(duration / usual))):
                    writer.append_data(pixels)
        return path.read_bytes()
