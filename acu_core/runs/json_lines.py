"""Logs of one JSON object a line: `metrics.jsonl` and `timings.jsonl`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from acu_core.durable import AppendOnlyFile
from acu_core.errors import UserError


class LogWriter:
    """Appends objects to a new log; each is in the file when `append` returns.

    An existing file is a UserError, unless `replace`; `open_for_append` goes on with one.
    """

    def __init__(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        path = Path(path)
        try:
            self._file = AppendOnlyFile.create(path, replace=replace)
        except FileExistsError as error:
            raise UserError(f"{path} exists already and is not overwritten: choose another run directory") from error

    @classmethod
    def open_for_append(cls, path: str | os.PathLike[str], length: int | None = None) -> LogWriter:
        """Goes on with a log after cutting it to `length` bytes; None cuts only a torn last line.

        Raises UserError, and cuts nothing, when the file is missing, shorter, or has no line's end there.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: the run cannot go on without its log") from error
        if length is None:
            length = content.rfind(b"\n") + 1
        if len(content) < length:
            raise UserError(
                f"{path} has {len(content)} bytes, the checkpoint was saved with {length}: the file was shortened "
                "since, restore it from a copy or start a new run"
            )
        if length and content[length - 1 : length] != b"\n":
            raise UserError(f"{path} has no end of a line at byte {length}: it is not this checkpoint's log")
        writer = cls.__new__(cls)
        writer._file = AppendOnlyFile.open(path, length)
        return writer

    @property
    def length(self) -> int:
        """Length of the log in bytes, always at a line's end: what a checkpoint keeps for `open_for_append`."""
        return self._file.length

    def append(self, entry: Mapping[str, Any]) -> None:
        """Appends one object as strict JSON, floats in their shortest exact form.

        Raises ValueError for NaN and infinities, TypeError for what JSON cannot hold, and then writes nothing.
        """
        line = json.dumps(dict(entry), allow_nan=False, ensure_ascii=False, separators=(", ", ": "))
        self._file.append(line.encode() + b"\n")

    def flush(self) -> None:
        """Does nothing: nothing is held back. Here because writers of files have one."""

    def sync(self) -> None:
        """Returns when all lines are on the disk."""
        self._file.sync()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All entries of a log; a last line without its end (a killed writer) is left out.

    Raises UserError for a missing file and for a line that is not a strict JSON object, naming the line.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"there is no log at {path}: has the run been started?") from error
    entries = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise UserError(f"line {number} of {path} is not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise UserError(f"line {number} of {path} is not a JSON object")
        entries.append(entry)
    return entries


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not strict JSON")
