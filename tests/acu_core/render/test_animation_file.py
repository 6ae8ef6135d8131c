"""Facts read back from files of every animated format."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from acu_core.errors import UserError
from acu_core.render import animation_file
from acu_core.render.animation_file import ANIMATIONS, encode_animation, require_encoder
from acu_core.render.colours import LIGHT
from acu_core.render.packed_pixels import Pixels

HEIGHT, WIDTH = 60, 90
ACCENT = np.round(255 * np.asarray(LIGHT.group(0))).astype(np.uint8)
PAPER = np.round(255 * np.asarray(LIGHT.paper)).astype(np.uint8)


def drawing(frame: int) -> Pixels:
    """RGB (HEIGHT, WIDTH, 3), the first three of four bytes: a square that goes from left to right and rests once."""
    pixels = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    pixels[..., :3] = PAPER
    left = 3 * (frame if frame < 5 else frame - 1)
    pixels[20:36, left : left + 16, :3] = ACCENT
    return pixels[..., :3]


class Drawn:
    """A picture of so many frames, each made by `draw`."""

    def __init__(self, frames: int, draw: Callable[[int], Pixels] = drawing) -> None:
        self.figure, self.size, self.frames = Figure(), (WIDTH, HEIGHT), frames
        self.pixels = self.view = draw

    def show(self, frame: int) -> None:
        raise NotImplementedError


def encode(suffix: str, count: int, directory: Path, draw: Callable[[int], Pixels] = drawing) -> bytes:
    if suffix in animation_file.VIDEOS:
        pytest.importorskip("imageio_ffmpeg", reason="the extra active-convolution[video] is not installed")
    durations = [100, *[50] * (count - 2), 200] if count > 1 else [50]
    return encode_animation(suffix, Drawn(count, draw), durations, 50, LIGHT, directory, processes=1)


def decoded(path: Path) -> tuple[list[Pixels], str]:
    """All frames of a video as RGB (HEIGHT, WIDTH, 3), and what ffmpeg says of the file."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return list(np.frombuffer(done.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)), done.stderr.decode()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animated_image_has_its_frames_sizes_and_times(suffix: str, tmp_path: Path) -> None:
    with Image.open(io.BytesIO(encode(suffix, 12, tmp_path))) as image:
        # WebP makes one frame of two that are alike.
        count = 11 if suffix == ".webp" else 12
        assert (image.n_frames, image.size, image.info["loop"]) == (count, (WIDTH, HEIGHT), 0)
        shown: list[Pixels] = []
        for frame in range(count):
            image.seek(frame)
            image.load()
            shown += [np.asarray(image.convert("RGB"))] * round(image.info["duration"] / 50)
    # What is seen, every 50 ms.
    frames = [0, 0, *range(1, 11), 11, 11, 11, 11]
    assert len(shown) == len(frames)
    assert np.any(shown[0] != shown[-1])
    for frame, pixels in zip(frames, shown, strict=True):
        away = np.abs(pixels.astype(int) - drawing(frame)).max(axis=-1)
        # WebP loses a little around edges.
        assert np.mean(away) <= (6 if suffix == ".webp" else 0), frame


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_a_video_has_its_frames_codec_and_colours(suffix: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(suffix, 12, tmp_path))
    frames, said = decoded(path)
    # The first frame rests for two, the last one for four.
    assert len(frames) == 2 + 10 + 4
    stream = re.findall(r"Stream #0:0.*: Video: (.*)", said)[0]
    for fact in (codec, "yuv420p(tv, bt709", f"{WIDTH}x{HEIGHT}", "20 fps"):
        assert fact in stream, stream
    (seconds,) = re.findall(r"Duration: 00:00:([\d.]+)", said)
    assert float(seconds) == pytest.approx(16 / 20, abs=0.06)
    for index, frame in ((0, 0), (2, 1), (12, 11), (15, 11)):
        away = np.abs(frames[index].astype(int) - drawing(frame)).max(axis=-1)
        assert np.mean(away) < 6, index
        assert np.abs(frames[index][30, 3 * (frame if frame < 5 else frame - 1) + 8].astype(int) - ACCENT).max() < 16
        assert np.abs(frames[index][5, 5].astype(int) - PAPER).max() <= 4
    content = path.read_bytes()
    if suffix == ".mp4":
        # Plays while it loads.
        assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_the_same_frames_make_the_same_file_and_one_frame_is_enough(suffix: str, tmp_path: Path) -> None:
    assert encode(suffix, 12, tmp_path) == encode(suffix, 12, tmp_path)
    assert len(encode(suffix, 1, tmp_path)) > 100
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_no_more_than_a_few_frames_are_ever_held(suffix: str, tmp_path: Path) -> None:
    alive: set[int] = set()
    most = 0

    class Held(np.ndarray):
        def __del__(self) -> None:
            alive.discard(id(self))

    def draw(frame: int) -> Pixels:
        nonlocal most
        pixels = drawing(frame % 20).copy().view(Held)
        alive.add(id(pixels))
        most = max(most, len(alive))
        return pixels

    encode(suffix, 60, tmp_path, draw)
    assert 1 <= most <= 4


def test_an_error_while_drawing_leaves_nothing(tmp_path: Path) -> None:
    def draw(frame: int) -> Pixels:
        if frame == 5:
            raise KeyboardInterrupt
        return drawing(frame)

    for suffix in ANIMATIONS:
        with pytest.raises(KeyboardInterrupt):
            encode(suffix, 12, tmp_path, draw)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_or_is_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "the extra active-convolution[video] is not installed"
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason=reason)
    broken = tmp_path / "ffmpeg"

    def answers(text: str) -> None:
        broken.write_text(f"#!/bin/sh\n{text}\n")
        broken.chmod(0o755)
        monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(broken))

    require_encoder(".mp4")
    require_encoder(".webm")
    answers("echo ' V....D libx264 H.264'")
    require_encoder(".mp4")
    with pytest.raises(UserError, match=r"has no libvpx-vp9 to encode \.webm: write a \.gif"):
        require_encoder(".webm")
    answers("exit 1")
    with pytest.raises(UserError, match="ffmpeg does not run here"):
        require_encoder(".mp4")
    answers("echo first >&2; echo 'trailer: No space left on device' >&2; exit 1")
    with pytest.raises(UserError, match=r"cannot be encoded, ffmpeg says: trailer: No space left on device$"):
        encode(".mp4", 300, tmp_path)
    broken.unlink()
    with pytest.raises(UserError, match="ffmpeg does not run here"):
        require_encoder(".mp4")
    monkeypatch.setattr(animation_file.features, "check", lambda name: False)
    with pytest.raises(UserError, match="without WebP"):
        require_encoder(".webp")
