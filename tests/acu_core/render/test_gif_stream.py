from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from PIL import Image

from acu_core.render.colours import LIGHT
from acu_core.render.gif_stream import GIF_END, GifPalette, gif_beginning, gif_frames
from acu_core.render.packed_pixels import Pixels

HEIGHT, WIDTH = 40, 60


def drawing(frame: int) -> Pixels:
    """RGB (HEIGHT, WIDTH, 3): soft squares that wander over resting paper, one of them creeping."""
    generator = np.random.default_rng(frame // 3)
    pixels = np.full((HEIGHT, WIDTH, 3), np.round(255 * np.asarray(LIGHT.paper)), np.uint8)
    for colour in (0, 1):
        top, left = generator.integers(0, 30, 2)
        pixels[top : top + 8, left : left + 8] = np.round(255 * np.asarray(LIGHT.group(colour)))
    pixels[5:9, 5:9] += np.uint8(frame % 3)
    return pixels


def decoded(content: bytes) -> list[Pixels]:
    frames = []
    with Image.open(io.BytesIO(content)) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            frames.append(np.asarray(image.convert("RGB")))
    return frames


def encoded(frames: Iterable[Pixels], count: int, palette: GifPalette, *blocks: int) -> bytes:
    """The file of `count` frames, in blocks that begin at frames, each knowing only the frame before it."""
    parts = [gif_beginning(WIDTH, HEIGHT, palette)]
    drawn = iter(frames)
    for first, end in itertools.pairwise([0, *blocks, count]):
        before = drawing(first - 1) if first else None
        parts += gif_frames(itertools.islice(drawn, end - first), [50] * (end - first), palette, before)
    return b"".join([*parts, GIF_END])


@pytest.mark.parametrize("blocks", [(), (1,), (4, 5, 9)])
def test_every_frame_shows_what_was_drawn(blocks: tuple[int, ...]) -> None:
    drawn = [drawing(frame) for frame in range(12)]
    shown = decoded(encoded(drawn, 12, GifPalette(drawn, LIGHT), *blocks))
    assert len(shown) == 12
    for pixels, seen in zip(drawn, shown, strict=True):
        assert np.abs(seen.astype(int) - pixels).max() <= 16
        paper = np.all(pixels == np.round(255 * np.asarray(LIGHT.paper)), axis=-1)
        assert np.all(seen[paper] == pixels[paper])


def test_the_last_frame_of_a_block_is_exact_and_others_may_lag() -> None:
    drawn = [drawing(frame) for frame in range(12)]
    palette = GifPalette(drawn, LIGHT)
    exact = [decoded(encoded([pixels], 1, palette))[0] for pixels in drawn]
    shown = decoded(encoded(drawn, 12, palette, 5))
    assert [bool(np.array_equal(*pair)) for pair in zip(shown, exact, strict=True)].count(False) > 0
    for last in (4, 11):
        np.testing.assert_array_equal(shown[last], exact[last])


def test_frames_that_are_a_part_of_four_bytes_give_the_same_file() -> None:
    drawn = [drawing(frame) for frame in range(6)]
    opaque = [np.dstack([pixels, np.full((HEIGHT, WIDTH), 255, np.uint8)]) for pixels in drawn]
    expected = encoded(drawn, 6, GifPalette(drawn, LIGHT))
    as_drawn = [pixels[..., :3] for pixels in opaque]
    assert encoded(as_drawn, 6, GifPalette(as_drawn, LIGHT)) == expected
    # The last three of four bytes are no such picture, though they look alike.
    shifted = [np.roll(pixels, 1, axis=-1)[..., 1:] for pixels in opaque]
    assert encoded(shifted, 6, GifPalette(shifted, LIGHT)) == expected


@pytest.mark.parametrize("count", [2, 50])
def test_one_frame_after_the_other_is_drawn(count: int) -> None:
    alive = 0
    most = 0

    class Drawn(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def frames() -> Iterator[Pixels]:
        nonlocal alive, most
        for frame in range(count):
            pixels = drawing(frame).view(Drawn)
            alive += 1
            most = max(most, alive)
            yield pixels
            del pixels

    encoded(frames(), count, GifPalette([drawing(0)], LIGHT))
    assert most <= 3
