"""A picture's frames in their order, drawn by several processes: Matplotlib draws on one core at a time.

The processes are forks of this one. They take turns, each into memory that it shares with this one, a few frames ahead
at most. What a frame looks like depends on nothing but the frame, so it does not matter who draws it: where a process
is lost, its frames are drawn here.
"""

from __future__ import annotations

import mmap
import os
import select
from collections.abc import Generator
from contextlib import suppress

import numpy as np

from acu_core.render import forked_process
from acu_core.render.forked_process import ForkedProcess, uninterrupted, usual_processes
from acu_core.render.packed_pixels import Pixels, four_bytes
from acu_core.render.picture import Picture

_SLOTS = 4
# Fewer frames are drawn before a second process has begun.
FEWEST_FRAMES = 16


def draw_frames(picture: Picture, processes: int | None = None) -> Generator[Pixels, None, None]:
    """Every frame as RGB (H, W, 3), by as many processes as there are cores unless a number is given.

    By this process alone where a fork is not safe: with other threads about, and on other systems than Linux. The forks
    are made before the first frame is handed out, for who takes it may begin threads. Closing the generator ends the
    processes.
    """
    if processes is None:
        processes = 1 if picture.frames < FEWEST_FRAMES else usual_processes()
    # What rests is drawn before the fork, once.
    first = picture.pixels(0)
    forks: list[_Fork] = []
    try:
        with uninterrupted():
            for number in range(processes if processes > 1 else 0):
                forks.append(_Fork(picture, range(1 + number, picture.frames, processes), forks))
        yield first
        for frame in range(1, picture.frames):
            drawn = forks[(frame - 1) % processes].next_frame() if forks else None
            yield picture.pixels(frame) if drawn is None else drawn
    finally:
        for fork in forks:
            fork.end()


class _Fork:
    """A process that draws some frames of a picture; knows the forks before it, whose pipes it must not hold open."""

    def __init__(self, picture: Picture, frames: range, before: list[_Fork]) -> None:
        width, height = picture.size
        # Shared by parent and child, and gone with them.
        memory = mmap.mmap(-1, _SLOTS * height * width * 4)
        self._slots = np.frombuffer(memory, np.uint8).reshape(_SLOTS, height, width, 4)
        self._taken = 0
        # One byte for each frame that is drawn, and one for each that is taken.
        self._drawn, child_drawn = os.pipe()
        child_free, self._free = os.pipe()
        closed = [descriptor for fork in [*before, self] for descriptor in (fork._drawn, fork._free)]
        self._process = ForkedProcess(lambda: self._draw(picture, frames, child_drawn, child_free), closed)
        os.close(child_drawn)
        os.close(child_free)

    def _draw(self, picture: Picture, frames: range, drawn: int, free: int) -> None:
        for number, frame in enumerate(frames):
            if number >= _SLOTS and not os.read(free, 1):
                return
            np.copyto(self._slots[number % _SLOTS], four_bytes(picture.view(frame)))
            os.write(drawn, b"\0")

    def next_frame(self) -> Pixels | None:
        """Its next frame, or None when it is lost."""
        if self._process.lost:
            return None
        poll = select.poll()
        poll.register(self._drawn, select.POLLIN)
        if not poll.poll(1000 * forked_process.PATIENCE_SECONDS) or not os.read(self._drawn, 1):
            self._process.lost = True
            return None
        pixels: Pixels = self._slots[self._taken % _SLOTS].copy()
        self._taken += 1
        with suppress(BrokenPipeError):
            os.write(self._free, b"\0")
        return pixels[..., :3]

    def end(self) -> None:
        """Ends the process."""
        os.close(self._drawn)
        os.close(self._free)
        self._process.end()
