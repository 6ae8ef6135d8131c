"""H.264 and VP9 that play in a browser, by the ffmpeg that imageio-ffmpeg brings along."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from acu_core.durable import temporary_directory
from acu_core.errors import UserError
from acu_core.render.packed_pixels import Pixels

# Quality by eye: thin lines stay clean. VP9's quicker way takes an eighth of the time for a quarter more bytes and
# looks the same (47.9 dB, not 48.1). The index of an .mp4 goes to its beginning, so that it plays while it loads.
_ENCODERS = {
    ".mp4": ("libx264", ["-crf", "20", "-movflags", "+faststart"]),
    ".webm": ("libvpx-vp9", ["-crf", "30", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "5", "-row-mt", "1"]),
}
VIDEOS = tuple(_ENCODERS)
# Said and done alike: a player guesses by the size of the picture otherwise, and colours shift.
_COLOUR_SPACE = [
    *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-pix_fmt", "yuv420p"),
    *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
]


def require_ffmpeg(suffix: str) -> None:
    """Raises UserError unless a video of this format can be encoded here."""
    encoder = _ENCODERS[suffix][0]
    try:
        done = subprocess.run(
            [_ffmpeg(suffix), "-hide_banner", "-encoders"], stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"ffmpeg does not run here ({error}): write a .gif or .webp") from error
    if encoder not in done.stdout.decode(errors="replace").split():
        raise UserError(f"the ffmpeg of this machine has no {encoder} to encode {suffix}: write a .gif or .webp")


def encode_video(
    suffix: str, frames: Iterator[Pixels], milliseconds: Sequence[int], usual: int, directory: Path
) -> bytes:
    """The file's bytes: frames (H, W, 3), H and W even, for their `milliseconds`, most of which are `usual`.

    Frames are encoded while the next ones are drawn. `directory` is where a temporary may lie meanwhile.
    """
    encoder, options = _ENCODERS[suffix]
    rate = str(Fraction(1000, usual))
    first = next(frames)
    height, width, _ = first.shape
    with temporary_directory(directory) as scratch:
        video, log = scratch / f"animation{suffix}", scratch / "log"
        given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "-"]
        # Bit-exact: without a time and a random number, the same run gives the same file.
        command = [_ffmpeg(suffix), "-v", "error", *given, "-an", "-c:v", encoder, *options, *_COLOUR_SPACE]
        command += ["-fflags", "+bitexact", "-flags:v", "+bitexact", str(video)]
        with open(log, "wb") as said:
            # A session of its own, so that Ctrl-C is for us to handle.
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        try:
            _feed(process, first, frames, milliseconds, usual)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
        if process.returncode:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"status {process.returncode}"
            raise UserError(f"the {suffix} cannot be encoded, ffmpeg says: {reason}")
        return video.read_bytes()


def _feed(
    process: subprocess.Popen[bytes], first: Pixels, rest: Iterator[Pixels], milliseconds: Sequence[int], usual: int
) -> None:
    assert process.stdin is not None
    # An encoder that has failed closes its end: its own words and its status say why.
    with suppress(BrokenPipeError), process.stdin as pipe:
        pixels: Pixels | None = first
        for duration in milliseconds:
            assert pixels is not None
            content = np.ascontiguousarray(pixels).data
            # A video has one rate: a frame that rests is written again.
            for _ in range(max(1, round(duration / usual))):
                pipe.write(content)
            pixels = next(rest, None)


def _ffmpeg(suffix: str) -> str:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise UserError(
            f"{suffix} needs imageio-ffmpeg: pip install 'active-convolution[video]', or write a .gif or .webp"
        ) from error
    try:
        return str(get_ffmpeg_exe())
    except RuntimeError as error:
        raise UserError("there is no ffmpeg for this machine: install one, or write a .gif or .webp") from error
