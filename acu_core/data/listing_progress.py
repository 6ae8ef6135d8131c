"""Says how far the listing of many files is."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 5.0
"""Between two lines; a listing that is shorter says nothing."""


class ListingProgress:
    """Told every file; says now and then how many there were."""

    def __init__(self, root: str, say: Callable[[str], None] | None) -> None:
        self._root = root
        self._say = say
        self._files = 0
        self._next = time.monotonic() + SECONDS

    def count(self) -> None:
        """One more file."""
        self._files += 1
        # The clock is not asked for each of millions.
        if self._say is not None and self._files % 1000 == 0 and time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS
            self._say(f"Listing the files of {self._root}: {self._files:,} so far ...")
