"""What can be drawn frame by frame, whatever it shows."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure


class Picture(Protocol):
    """Frames of one size. What writes files knows pictures only by this."""

    figure: Figure
    """Where `show` draws; a still is saved from it, vectors included."""
    size: tuple[int, int]
    """Width and height in pixels, both even."""

    @property
    def frames(self) -> int:
        """How many frames there are, at least one."""

    def pixels(self, frame: int) -> npt.NDArray[np.uint8]:
        """Frame `frame` as RGB, (height, width, 3)."""

    def view(self, frame: int) -> npt.NDArray[np.uint8]:
        """As `pixels`, but only until another frame is drawn: nothing is copied."""

    def show(self, frame: int) -> None:
        """Sets `figure` to frame `frame`."""
