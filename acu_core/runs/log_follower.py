"""Reads a log of `json_lines` while it grows: new lines only, each checked by the chain of checksums."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.errors import UserError
from acu_core.runs.json_lines import LineReader
from acu_core.runs.regular_file import open_regular

_MOST_BYTES = 1 << 20


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
        self._doubted = False
        self.damage: str | None = None

    def poll(self) -> NewEntries:
        """The whole lines that are new, at most about a megabyte of them: the rest comes with the next call."""
        try:
            status = os.stat(self._path)
        except OSError:
            return NewEntries([], anew=self._begin(None))
        file = status.st_dev, status.st_ino
        anew = False
        if file != self._file or status.st_size < self._seen:
            anew = self._begin(file)
            self._doubted = False
        elif status.st_size == self._seen or self.damage is not None:
            return NewEntries([])
        self._size = status.st_size
        entries = self._advance()
        if self.damage is not None and self._reader.lines and not self._doubted:
            # It may have been cut and have grown again since: its beginning can tell.
            self._begin(file)
            self._doubted, self._size, anew = True, status.st_size, True
            entries = self._advance()
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

    def _advance(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        try:
            with open_regular(self._path) as file:
                content = os.pread(file.fileno(), _MOST_BYTES, self._read)
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
