"""Reads a log of `json_lines` while it grows: new lines only, each checked by the chain of checksums."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.errors import UserError
from acu_core.runs.json_lines import LineReader, damaged_line
from acu_core.runs.regular_file import open_regular

_MOST_BYTES = 1 << 20
_LONGEST_LINE = 1 << 23
"""In bytes. No line of ours comes near it, and what claims to be one must not fill the memory."""


@dataclass(frozen=True)
class NewEntries:
    """What a log has got since it was last looked at; `anew`: it begins again, forget what came before."""

    entries: list[dict[str, Any]]
    anew: bool = False


class LogFollower:
    """The lines of a log that may be missing yet, grow, and be cut back when its run is resumed.

    `damage` is the sentence about the first line that is damaged, where one is: nothing after it is read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._file: tuple[int, int] | None = None
        self._reader = LineReader(self._path)
        # Bytes: read as whole lines, looked at, in the file.
        self._read = self._seen = self._size = 0
        # How many lines were right before one that may be damaged, or may be of a log that has begun again.
        self._doubted: int | None = None
        self.damage: str | None = None

    def poll(self) -> NewEntries:
        """The whole lines that are new, at most about a megabyte of them or one that is longer.

        The rest comes with the next call.
        """
        try:
            status = os.stat(self._path)
        except OSError:
            return NewEntries([], anew=self._begin(None))
        file = status.st_dev, status.st_ino
        anew = False
        if file != self._file or status.st_size < self._seen:
            anew = self._begin(file)
            self._doubted = None
        elif status.st_size == self._seen or self.damage is not None:
            self._size = status.st_size
            return NewEntries([])
        self._size = status.st_size
        entries = self._advance()
        self._settle()
        if self.damage is not None and self._reader.lines and self._doubted is None:
            # It may have been cut and have grown again since: its beginning can tell.
            self._doubted = self._reader.lines
            self._begin(file)
            self._size, anew = status.st_size, True
            entries = self._advance()
            self._settle()
        return NewEntries(entries, anew)

    @property
    def is_behind(self) -> bool:
        """Whether `poll` left lines for the next call."""
        return self.damage is None and self._seen < self._size

    def _begin(self, file: tuple[int, int] | None) -> bool:
        """Forgets everything; whether that was anything."""
        known = self._reader.lines > 0 or self.damage is not None
        self._file, self._reader, self.damage = file, LineReader(self._path), None
        self._read = self._seen = self._size = 0
        return known

    def _settle(self) -> None:
        """Doubts no more what was read anew and is right: damage that is found later is another matter."""
        if self._doubted is None:
            return
        if self._reader.lines > self._doubted or (self.damage is None and not self.is_behind):
            self._doubted = None

    def _advance(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        try:
            content = self._next_lines()
            self._seen = self._read + len(content)
            whole = content[: content.rfind(b"\n") + 1]
            entries.extend(self._reader.entries(whole))
            self._read += len(whole)
        except FileNotFoundError:
            # Gone since it was looked at: the next call notices.
            pass
        except UserError as error:
            self.damage = str(error)
        return entries

    def _next_lines(self) -> bytes:
        """What follows, to the file's end or with at least one whole line. Raises UserError where a line has no end."""
        count = _MOST_BYTES
        with open_regular(self._path) as file:
            while True:
                content = os.pread(file.fileno(), count, self._read)
                if len(content) < count or b"\n" in content:
                    return content
                if count >= _LONGEST_LINE:
                    reason = f"it has no end within {_LONGEST_LINE:,} bytes"
                    raise damaged_line(self._path, self._reader.lines + 1, reason)
                count = min(2 * count, _LONGEST_LINE)
