"""Files and directories that are whole or absent, whatever happens to the process or the machine.

What is being made lies in a temporary `.acu-<16 hex digits>.tmp` in the same directory as its target. Whoever makes it
holds an flock on it, which the kernel lets go of with the process, by kill -9 too. So the next creation in the same
directory can tell the temporary of a killed process, which it removes, from that of a living one, which stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r"\.acu-[0-9a-f]{16}\.tmp")
_NAMES = ".names"
# What file systems answer whose directories cannot be synchronised, or cannot be opened for it. An EIO is none of them.
_NO_SYNC = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR}
)
# And those without hard links.
_NO_LINK = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK})

# And what writing to a file that is open can end with.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


def sync_directory(path: Path) -> None:
    """Makes renames inside `path` survive a power failure, where the file system lets a directory be synchronised."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def write_durably(path: Path, write: Callable[[BinaryIO], object], *, overwrite: bool = True) -> Path:
    """Calls `write(file)` on a temporary file beside `path`, then puts it at `path` in one step.

    The old content stays until the new one is on the disk; with `overwrite=False` it stays in any case, and something
    at `path` is a FileExistsError. A killed process leaves a temporary, an error leaves nothing.
    """
    sweep(path.parent)
    with _naming(path):
        file, temporary = _new_file(path.parent)
        try:
            # Closing writes what is buffered, again after an error.
            with file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                if overwrite:
                    os.replace(temporary, path)
                else:
                    _link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    sync_directory(path.parent)
    return path


def write_text_durably(path: Path, text: str, *, overwrite: bool = True) -> Path:
    """`write_durably` for UTF-8 text."""
    content = text.encode()
    return write_durably(path, lambda file: file.write(content), overwrite=overwrite)


def publish_directory(path: Path, fill: Callable[[Path], object], *, last: str) -> None:
    """Calls `fill(directory)` on a temporary directory, then makes its content that of `path`.

    Where there is nothing, the directory appears in one step. An empty directory stays the same one, for it may be
    somebody's working directory or a mount: its entries are moved in one after the other, `last` as the last of them,
    so that a directory with an entry of that name is whole. What a killed process has moved in is removed by the next
    attempt. An error leaves nothing. Raises FileExistsError for a directory that is not empty.
    """
    path = Path(os.path.realpath(path))
    if not path.is_dir():
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "it is not a directory", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        with _new_directory(path.parent) as temporary:
            fill(temporary)
            sync_directory(temporary)
            os.rename(temporary, path)
        sync_directory(path.parent)
        return
    sweep(path)
    if any(path.iterdir()):
        raise FileExistsError(errno.EEXIST, "the directory is not empty", str(path))
    with _new_directory(path) as temporary:
        fill(temporary)
        names = sorted(os.listdir(temporary), key=lambda name: name == last)
        # Says from now on what may have been moved.
        (temporary / _NAMES).write_text("\0".join(names), encoding="utf-8")
        sync_directory(temporary)
        try:
            for name in names:
                os.rename(temporary / name, path / name)
                sync_directory(path)
        except BaseException:
            _take_back(temporary)
            raise


@contextmanager
def temporary_directory(parent: Path) -> Iterator[Path]:
    """A directory in `parent` that is removed at the end; a killed process leaves it to the next one that makes one."""
    sweep(parent)
    with _new_directory(parent) as temporary:
        yield temporary


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Names `path` in an error of a disk that names no file, or a temporary that is gone by then."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if error.errno in _DISK if name is None else _TEMPORARY.fullmatch(os.path.basename(str(name))):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def sweep(directory: Path) -> None:
    """Removes what killed processes have left in `directory`, and nothing else: what a living one is making stays."""
    with suppress(OSError):
        for entry in os.scandir(directory):
            if _TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    _sweep_one(Path(entry.path))


def _sweep_one(temporary: Path) -> None:
    # Not a link or a pipe, whatever its name.
    descriptor = os.open(temporary, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _take_back(temporary)
        _remove(temporary)
    finally:
        os.close(descriptor)


def _take_back(temporary: Path) -> None:
    """Removes what was moved out of `temporary` into a directory that was empty, unless all of it was."""
    if not (temporary / _NAMES).is_file():
        return
    names = (temporary / _NAMES).read_text(encoding="utf-8").split("\0")
    if (temporary / names[-1]).exists():
        for name in names:
            if not (temporary / name).exists():
                _remove(temporary.parent / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _new_file(directory: Path) -> tuple[BinaryIO, Path]:
    while True:
        path = _temporary_path(directory)
        file = open(path, "xb")  # noqa: SIM115
        if _hold(path, file.fileno()):
            return file, path
        file.close()


@contextmanager
def _new_directory(parent: Path) -> Iterator[Path]:
    while True:
        path = _temporary_path(parent)
        path.mkdir()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if _hold(path, descriptor):
            break
        os.close(descriptor)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _temporary_path(directory: Path) -> Path:
    return directory / f".acu-{secrets.token_hex(8)}.tmp"


def _hold(path: Path, descriptor: int) -> bool:
    """Locks a new temporary; False where it was swept in the moment between its making and this."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        # No locks here: nobody can sweep either.
        return True
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        # Two steps: a process killed between them leaves an empty file.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        os.replace(temporary, path)


class AppendOnlyFile:
    """A file that only grows: every append is one unbuffered write, so a killed process loses nothing appended.

    A write that fails part way (a full disk) is taken back, so that the file always ends where `length` says.
    """

    def __init__(self, path: Path, descriptor: int, length: int, *, cut: bool = True) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._length = length
        self._is_cut = cut

    @classmethod
    def create(cls, path: Path, *, replace: bool = False) -> AppendOnlyFile:
        """Makes an empty file. Raises FileExistsError where one is, unless `replace`, and OSError for a pipe."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_NONBLOCK if replace else os.O_EXCL)
        descriptor = _regular(path, os.open(path, flags, 0o666))
        made = cls(path, descriptor, 0, cut=False)
        made.cut()
        return made

    @classmethod
    def open(cls, path: Path, length: int) -> AppendOnlyFile:
        """Opens an existing file to go on after `length` bytes; the caller has checked that it is at least as long.

        What lies beyond is cut off by `cut`, or by the first append: until then the file is as it was.
        """
        return cls(path, _regular(path, os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)), length, cut=False)

    @property
    def length(self) -> int:
        """Bytes appended so far, in the file already."""
        return self._length

    def cut(self) -> None:
        """Cuts the file to `length`."""
        descriptor = self._open_descriptor()
        with _naming(self.path):
            os.ftruncate(descriptor, self._length)
            os.lseek(descriptor, self._length, os.SEEK_SET)
        self._is_cut = True

    def append(self, data: bytes | memoryview) -> None:
        """Appends `data` whole, or raises OSError and leaves the file as it was."""
        if not self._is_cut:
            self.cut()
        descriptor = self._open_descriptor()
        rest = memoryview(data).cast("B")
        total = len(rest)
        try:
            with _naming(self.path):
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
        except BaseException:
            self.cut()
            raise
        self._length += total

    def sync(self) -> None:
        """Returns when everything appended is on the disk."""
        with _naming(self.path):
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


def _regular(path: Path, descriptor: int) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))
