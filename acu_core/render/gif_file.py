"""A picture as a GIF, in blocks of frames that need nothing of each other: every core draws and encodes its own."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from acu_core.render import forked_process
from acu_core.render.colours import Theme
from acu_core.render.drawing_processes import FEWEST_FRAMES
from acu_core.render.forked_process import ForkedProcess, uninterrupted, usual_processes
from acu_core.render.gif_stream import GIF_END, GifPalette, gif_beginning, gif_frames
from acu_core.render.picture import Picture

# They have all colours that any frame has: more make no better palette.
_PALETTE_SAMPLES = 3
# Of the same frames whoever encodes them, so that the file is the same. Each begins with the frame before it.
_BLOCKS, _FEWEST_IN_BLOCK = 6, 8
_BLOCK_NUMBER = struct.Struct("<I")
_FRAME = struct.Struct("<II")
_READ = 1 << 20


def encode_gif(
    picture: Picture,
    milliseconds: Sequence[int],
    theme: Theme,
    *,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> bytes:
    """The file's bytes, of a picture whose frames are shown for `milliseconds` each.

    By as many processes as there are cores, unless a number is given; where one is lost, its frames are drawn here.
    `progress` is told how many frames are encoded.
    """
    if processes is None:
        processes = 1 if picture.frames < FEWEST_FRAMES else usual_processes()
    chosen = np.unique(np.linspace(0, picture.frames - 1, _PALETTE_SAMPLES).round().astype(int))
    # What rests is drawn with these, before any fork, once.
    palette = GifPalette([picture.pixels(int(frame)) for frame in chosen], theme)
    encoder = _BlockEncoder(picture, milliseconds, palette)
    encoded: dict[int, bytes] = {}
    if processes > 1:
        for frame, content in _by_forks(encoder, processes):
            encoded[frame] = content
            progress(len(encoded))
    for block in encoder.blocks:
        if any(frame not in encoded for frame in block):
            for frame, content in encoder.encode(block):
                encoded[frame] = content
                progress(len(encoded))
    width, height = picture.size
    return b"".join([gif_beginning(width, height, palette), *map(encoded.__getitem__, sorted(encoded)), GIF_END])


class _BlockEncoder:
    def __init__(self, picture: Picture, milliseconds: Sequence[int], palette: GifPalette) -> None:
        self._picture, self._milliseconds, self._palette = picture, milliseconds, palette
        length = max(_FEWEST_IN_BLOCK, -(-picture.frames // _BLOCKS))
        self.blocks = [range(first, min(first + length, picture.frames)) for first in range(0, picture.frames, length)]

    def encode(self, block: range) -> Iterator[tuple[int, bytes]]:
        """Each frame's number and bytes."""
        before = self._picture.view(block[0] - 1) if block[0] > 0 else None
        durations = self._milliseconds[block.start : block.stop]
        return zip(block, gif_frames(map(self._picture.view, block), durations, self._palette, before), strict=True)


def _by_forks(encoder: _BlockEncoder, processes: int) -> Iterator[tuple[int, bytes]]:
    """Frames as they are encoded by forks of this process, in any order; not all, where a fork is lost."""
    turns, give = os.pipe()
    # The last first, for the more trails there are, the longer a frame takes. Closed, it has an end.
    with os.fdopen(give, "wb") as last_first:
        last_first.write(b"".join(map(_BLOCK_NUMBER.pack, reversed(range(len(encoder.blocks))))))
    forks: list[_Fork] = []
    try:
        with uninterrupted():
            for _ in range(min(processes, len(encoder.blocks))):
                forks.append(_Fork(encoder, turns, [fork.answers for fork in forks]))
        yield from _heard(forks)
    finally:
        os.close(turns)
        for fork in forks:
            fork.end()


def _heard(forks: Sequence[_Fork]) -> Iterator[tuple[int, bytes]]:
    poll = select.poll()
    speaking = {fork.answers: fork for fork in forks}
    for descriptor in speaking:
        poll.register(descriptor, select.POLLIN)
    while speaking:
        ready = poll.poll(1000 * forked_process.PATIENCE_SECONDS)
        if not ready:
            return
        for descriptor, _ in ready:
            frames = speaking[descriptor].hear()
            if frames is None:
                poll.unregister(descriptor)
                del speaking[descriptor]
            else:
                yield from frames


class _Fork:
    """A process that takes block after block. Every frame is a message: its number, its length in bytes, its bytes."""

    def __init__(self, encoder: _BlockEncoder, turns: int, closed: list[int]) -> None:
        self._unread = b""
        self.answers, answer = os.pipe()
        self._process = ForkedProcess(lambda: _encode_in_turn(encoder, turns, answer), [*closed, self.answers])
        os.close(answer)

    def hear(self) -> list[tuple[int, bytes]] | None:
        """The frames that have come in whole, or None when no more will."""
        content = os.read(self.answers, _READ)
        if not content:
            return None
        self._unread += content
        frames = []
        while len(self._unread) >= _FRAME.size:
            frame, length = _FRAME.unpack_from(self._unread)
            end = _FRAME.size + length
            if len(self._unread) < end:
                break
            frames.append((frame, self._unread[_FRAME.size : end]))
            self._unread = self._unread[end:]
        return frames

    def end(self) -> None:
        """Ends the process."""
        os.close(self.answers)
        self._process.end()


def _encode_in_turn(encoder: _BlockEncoder, turns: int, answer: int) -> None:
    with os.fdopen(answer, "wb") as answers:
        while block := os.read(turns, _BLOCK_NUMBER.size):
            for frame, content in encoder.encode(encoder.blocks[_BLOCK_NUMBER.unpack(block)[0]]):
                answers.write(_FRAME.pack(frame, len(content)) + content)
                answers.flush()
