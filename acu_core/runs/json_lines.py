"""Logs of one JSON object a line: `metrics.jsonl` and `timings.jsonl`.

A line is a strict JSON object whose last key is the checksum, and a line feed:

    {"iteration": 1, "loss": 2.5, "crc32": "0a1b2c3d"}

`crc32` is the CRC32 of the bytes before `, "crc32"`, counted on from that of the line before (from 0 in the first), as
eight hexadecimal digits: a changed line is noticed, and so is one that is missing. Lines without a checksum, as logs
had them once, are read unchecked; after the first line with one they are damage. A last line without its line feed is
that of a killed writer, and left out.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from acu_core.durable import AppendOnlyFile
from acu_core.errors import UserError
from acu_core.runs.regular_file import open_regular

CHECKSUM = re.compile(rb', "crc32": "([0-9a-f]{8})"\}')
CHECKSUM_BYTES = len(b', "crc32": "00000000"}')


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
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        self._checksum = 0

    @classmethod
    def open_for_append(cls, path: str | os.PathLike[str], length: int | None = None) -> LogWriter:
        """Goes on with a log after its first `length` bytes; None leaves out only a torn last line.

        The rest is cut off by `cut`, or by the first append. Raises UserError, and then cuts nothing, when the file is
        missing, shorter, or has no line's end there.
        """
        path = Path(path)
        content, size = _read(path, length)
        _check_end(path, content, size, length)
        writer = cls.__new__(cls)
        last = content[:-1].rpartition(b"\n")[2]
        match = CHECKSUM.fullmatch(last[-CHECKSUM_BYTES:])
        writer._checksum = int(match[1], 16) if match else 0
        try:
            writer._file = AppendOnlyFile.open(path, len(content))
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        return writer

    @property
    def length(self) -> int:
        """Length of the log in bytes, always at a line's end: what a checkpoint keeps for `open_for_append`."""
        return self._file.length

    def cut(self) -> None:
        """Cuts off what lies beyond `length`."""
        self._file.cut()

    def append(self, entry: Mapping[str, Any]) -> None:
        """Appends one object as strict JSON, floats in their shortest exact form, with its checksum.

        Raises ValueError for NaN, infinities and an entry `crc32`, TypeError for what JSON cannot hold, and then writes
        nothing.
        """
        if not entry or "crc32" in entry:
            raise ValueError(f"an entry must have keys, none of them crc32, got {list(entry)}")
        text = json.dumps(dict(entry), allow_nan=False, ensure_ascii=False, separators=(", ", ": ")).encode()[:-1]
        checksum = zlib.crc32(text, self._checksum)
        self._file.append(text + b', "crc32": "%08x"}\n' % checksum)
        self._checksum = checksum

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


def read_log(path: str | os.PathLike[str], length: int | None = None) -> list[dict[str, Any]]:
    """All entries of a log, or those of its first `length` bytes, without their checksums.

    Raises UserError for a missing file and for a line that is damaged, naming the line.
    """
    path = Path(path)
    content, size = _read(path, length)
    # First, since a line that is missing has moved all that come after it.
    entries = _entries(content[: content.rfind(b"\n") + 1], path)
    _check_end(path, content, size, length)
    return entries


def _read(path: Path, length: int | None) -> tuple[bytes, int]:
    """The first `length` bytes of a log, or all of its whole lines; and its size."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read() if length is None else file.read(min(length, size))
    except FileNotFoundError as error:
        raise UserError(f"there is no log at {path}") from error
    return content[: content.rfind(b"\n") + 1] if length is None else content, size


def _check_end(path: Path, content: bytes, size: int, length: int | None) -> None:
    if length is not None and len(content) < length:
        raise UserError(
            f"{path} has {size} bytes, the checkpoint was saved with {length}: the file was shortened since, restore "
            "it from a copy or start a new run"
        )
    if content and not content.endswith(b"\n"):
        raise UserError(f"{path} has no end of a line at byte {length}: it is not this checkpoint's log")


def _entries(content: bytes, path: Path) -> list[dict[str, Any]]:
    entries = _flat_entries(content)
    return list(LineReader(path).entries(content)) if entries is None else entries


def _flat_entries(content: bytes) -> list[dict[str, Any]] | None:
    """All entries at once, several times as fast; None unless every line is a flat object whose checksum fits."""
    # One brace at either end of each line, and no others: a line is an object by itself, for its text cannot go on in
    # the next one, where a string would have to hold a line feed.
    lines = content.split(b"\n")[:-1]
    count = len(lines)
    ends = content.count(b"}\n"), content.count(b"\n{") + content.startswith(b"{")
    if not ends == (content.count(b"}"), content.count(b"{")) == (count, count) or b"[" in content:
        return None
    checksum = 0
    for line in lines:
        checksum = zlib.crc32(line[:-CHECKSUM_BYTES], checksum)
        if not line.endswith(b', "crc32": "%08x"}' % checksum):
            return None
    try:
        found: list[dict[str, Any]] = json.loads(
            f"[{content[:-1].decode()}]".replace("\n", ",\n"), parse_constant=refuse_constant
        )
    except (ValueError, RecursionError):
        return None
    for entry in found:
        del entry["crc32"]
    return found


class LineReader:
    """Takes a log's whole lines piece after piece, and checks each with those before it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checksum, self._checked = 0, False
        self.lines = 0
        """Lines that were right."""

    def entries(self, content: bytes) -> Iterator[dict[str, Any]]:
        """The entries of the next lines, which are whole. Raises UserError that names the first damaged one."""
        for line in content.split(b"\n")[:-1]:
            number = self.lines + 1
            match = CHECKSUM.fullmatch(line[-CHECKSUM_BYTES:])
            if match is None and self._checked:
                raise damaged_line(self._path, number, "it has no checksum")
            if match is not None:
                self._checksum, self._checked = zlib.crc32(line[:-CHECKSUM_BYTES], self._checksum), True
                if self._checksum != int(match[1], 16):
                    raise damaged_line(self._path, number, "its checksum does not fit it and the lines before it")
            try:
                entry = json.loads(line, parse_constant=refuse_constant)
            except (ValueError, RecursionError) as error:
                raise damaged_line(self._path, number, f"it is not JSON ({error})") from error
            if not isinstance(entry, dict):
                raise damaged_line(self._path, number, "it is not a JSON object")
            if match is None and "crc32" in entry:
                raise damaged_line(self._path, number, "its checksum is not one")
            entry.pop("crc32", None)
            self.lines = number
            yield entry


def damaged_line(path: Path, number: int, reason: str) -> UserError:
    """The error that names a line of a log."""
    return UserError(f"line {number} of {path} is damaged: {reason}; restore the file from a copy")


def refuse_constant(constant: str) -> NoReturn:
    """As `parse_constant` of `json.loads`: raises ValueError for NaN and infinities."""
    raise ValueError(f"{constant} is not strict JSON")
