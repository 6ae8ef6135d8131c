"""Files that are whole or absent, whatever happens to the process or the machine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = ".tmp"


def sync_directory(path: Path) -> None:
    """Makes renames inside `path` survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Calls `write(file)` on a temporary file beside `path`, then puts it at `path` in one step.

    The old content stays until the new one is on the disk. A killed process leaves at most a file that starts with
    a dot and ends with `.tmp`; an error leaves nothing.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
    return path


def write_text_durably(path: Path, text: str) -> Path:
    """`write_durably` for UTF-8 text."""
    return write_durably(path, lambda file: file.write(text.encode()))


class AppendOnlyFile:
    """A file that only grows: every append is one unbuffered write, so a killed process loses nothing appended.

    A write that fails part way (a full disk) is taken back, so that the file always ends where `length` says.
    """

    def __init__(self, path: Path, descriptor: int, length: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._length = length

    @classmethod
    def create(cls, path: Path, *, replace: bool = False) -> AppendOnlyFile:
        """Makes an empty file. Raises FileExistsError where one is, unless `replace`."""
        flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if replace else os.O_EXCL) | getattr(os, "O_CLOEXEC", 0)
        return cls(path, os.open(path, flags, 0o666), 0)

    @classmethod
    def open(cls, path: Path, length: int) -> AppendOnlyFile:
        """Opens an existing file and cuts it to `length` bytes; the caller has checked that it is at least as long."""
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        try:
            os.ftruncate(descriptor, length)
            os.lseek(descriptor, length, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, length)

    @property
    def length(self) -> int:
        """Bytes appended so far, in the file already."""
        return self._length

    def append(self, data: bytes | memoryview) -> None:
        """Appends `data` whole, or raises OSError and leaves the file as it was."""
        descriptor = self._open_descriptor()
        rest = memoryview(data).cast("B")
        total = len(rest)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except BaseException:
            os.ftruncate(descriptor, self._length)
            os.lseek(descriptor, self._length, os.SEEK_SET)
            raise
        self._length += total

    def sync(self) -> None:
        """Returns when everything appended is on the disk."""
        os.fsync(self._open_descriptor())

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed")
        return self._descriptor
