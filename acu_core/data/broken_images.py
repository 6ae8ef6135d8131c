"""Image files that could not be read and were left out, because the recipe says so: named and counted."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class BrokenImage:
    """A file, and why it has no pixels. `part` is "train", or what the test images are called."""

    path: str
    reason: str
    part: str

    @property
    def name(self) -> str:
        """The path as text that can be written as UTF-8, whatever bytes it has."""
        return os.fsencode(self.path).decode(errors="backslashreplace")


class BrokenImages:
    """Every file that was left out, once, in the order in which they were found. Somebody may listen."""

    def __init__(self) -> None:
        self.found: dict[str, BrokenImage] = {}
        self._listener: Callable[[BrokenImage], None] | None = None

    def __len__(self) -> int:
        return len(self.found)

    def listen(self, listener: Callable[[BrokenImage], None]) -> None:
        """`listener` is told every file that is found from now on, in place of an earlier listener."""
        self._listener = listener

    def add(self, image: BrokenImage) -> None:
        """A file was left out, possibly not for the first time."""
        if image.path in self.found:
            return
        self.found[image.path] = image
        if self._listener is not None:
            self._listener(image)
