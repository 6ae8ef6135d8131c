"""A picture that can be drawn by forks, and what is left of them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from acu_core.render.packed_pixels import Pixels


def children() -> set[int]:
    """The processes that this one has begun, those that are over and not waited for too."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(status.parent.name))
    return found


class Counted:
    """A picture of numbers, which knows what this process drew of it, and does what it is told at a frame."""

    def __init__(self, frames: int, four: bool = True) -> None:
        self.figure = Figure()
        self.size = (40, 30)
        self.frames = frames
        self.drawn: list[int] = []
        self.at: dict[int, object] = {}
        self._parent = os.getpid()
        self._four = four

    def pixels(self, frame: int) -> Pixels:
        self.drawn.append(frame)
        if os.getpid() != self._parent and frame in self.at:
            self.at[frame]()  # type: ignore[operator]
        pixels = np.random.default_rng(frame).integers(0, 256, (30, 40, 4), np.uint8)
        return pixels[..., :3] if self._four else pixels[..., :3].copy()

    def view(self, frame: int) -> Pixels:
        return self.pixels(frame)

    def show(self, frame: int) -> None:
        raise NotImplementedError
