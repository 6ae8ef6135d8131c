"""A picture's frames in their order, drawn by several processes: Matplotlib draws on one core at a time.

The processes are forks of this one, for the picture is in memory then and nothing is imported again. They take turns,
each into memory that it shares with this one, a few frames ahead at most. What a frame looks like depends on nothing
but the frame, so it does not matter who draws it: where a process is lost, its frames are drawn here.
"""

from __future__ import annotations

import gc
import mmap
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from acu_core.render.packed_pixels import Pixels, four_bytes
from acu_core.render.picture import Picture

_MOST_PROCESSES = 4
_SLOTS = 4
_ENDING = (signal.SIGINT, signal.SIGTERM)
# Fewer frames are drawn before a second process has begun.
_FEWEST_FRAMES = 16
# A process that says nothing for so long is lost. Drawing a frame takes milliseconds.
_PATIENCE_SECONDS = 20.0


def draw_frames(picture: Picture, processes: int | None = None) -> Generator[Pixels, None, None]:
    """Every frame as RGB (H, W, 3), by as many processes as there are cores unless a number is given.

    By this process alone where a fork is not safe: with other threads about, and on other systems than Linux. The forks
    are made before the first frame is handed out, for who takes it may begin threads. Closing the generator ends the
    processes.
    """
    if processes is None:
        alone = picture.frames < _FEWEST_FRAMES or sys.platform != "linux" or threading.active_count() > 1
        processes = 1 if alone else min(_MOST_PROCESSES, len(os.sched_getaffinity(0)))
    # What rests is drawn before the fork, once.
    first = picture.pixels(0)
    forks: list[_Fork] = []
    try:
        with _uninterrupted():
            for number in range(processes if processes > 1 else 0):
                forks.append(_Fork(picture, range(1 + number, picture.frames, processes), forks))
        yield first
        for frame in range(1, picture.frames):
            drawn = forks[(frame - 1) % processes].next_frame() if forks else None
            yield picture.pixels(frame) if drawn is None else drawn
    finally:
        for fork in forks:
            fork.end()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals wait until the end: what Python calls around a fork would swallow an exception of theirs."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Fork:
    """A process that draws some frames of a picture; knows the forks before it, whose pipes it must not hold open."""

    def __init__(self, picture: Picture, frames: range, before: list[_Fork]) -> None:
        width, height = picture.size
        # Shared by parent and child, and gone with them.
        memory = mmap.mmap(-1, _SLOTS * height * width * 4)
        self._slots = np.frombuffer(memory, np.uint8).reshape(_SLOTS, height, width, 4)
        self._taken = 0
        self._lost = False
        # One byte for each frame that is drawn, and one for each that is taken.
        self._drawn, child_drawn = os.pipe()
        child_free, self._free = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads of libraries, which wait for work that a child never gives them.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self._process = os.fork()
            except OSError:
                # No room for another process: this one draws.
                self._process, self._lost = -1, True
        if self._process == 0:
            try:
                for fork in [*before, self]:
                    os.close(fork._drawn)
                    os.close(fork._free)
                self._draw(picture, frames, child_drawn, child_free)
            finally:
                # At once: what the parent has open is the parent's to close.
                os._exit(0)
        os.close(child_drawn)
        os.close(child_free)

    def _draw(self, picture: Picture, frames: range, drawn: int, free: int) -> None:
        # Ctrl-C reaches every process of a terminal; the parent decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        # A collection would finish objects of the parent's.
        gc.disable()
        for number, frame in enumerate(frames):
            if number >= _SLOTS and not os.read(free, 1):
                return
            np.copyto(self._slots[number % _SLOTS], four_bytes(picture.pixels(frame)))
            os.write(drawn, b"\0")

    def next_frame(self) -> Pixels | None:
        """Its next frame, or None when it is lost."""
        if self._lost:
            return None
        poll = select.poll()
        poll.register(self._drawn, select.POLLIN)
        if not poll.poll(1000 * _PATIENCE_SECONDS) or not os.read(self._drawn, 1):
            self._lost = True
            return None
        pixels: Pixels = self._slots[self._taken % _SLOTS].copy()
        self._taken += 1
        with suppress(BrokenPipeError):
            os.write(self._free, b"\0")
        return pixels[..., :3]

    def end(self) -> None:
        """Ends the process, whatever it is doing: it has nothing to lose."""
        os.close(self._drawn)
        os.close(self._free)
        if self._process > 0:
            with suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._process, 0)
