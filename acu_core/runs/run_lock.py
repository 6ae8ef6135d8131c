"""The lock that keeps two processes from writing one run."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from acu_core.errors import UserError

_held: set[int] = set()


def _close_in_child() -> None:
    # The lock belongs to the open file, not the process: a forked worker that outlives a killed run would keep it.
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def hold_lock(path: Path, *, writing: bool = True) -> Iterator[None]:
    """Holds an exclusive lock on the file `path`, which stays there. Raises UserError when another process holds it.

    Where nothing can be written, who only reads (`writing=False`) locks the file that is there, or does without.
    The kernel releases the lock with the process, by kill -9 too, so there are no stale locks to clean up.
    """
    descriptor = _open(path, writing)
    if descriptor is None:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise UserError(
            f"{path.parent} is being written by another process (number {holder}): wait for it or stop it first"
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    _held.add(descriptor)
    try:
        _write(descriptor, f"{os.getpid()}\n")
        yield
    finally:
        # Not held in a forked child, whose copy is closed already.
        if descriptor in _held:
            _held.discard(descriptor)
            _write(descriptor, "")
            os.close(descriptor)


def _open(path: Path, writing: bool) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if writing or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


def _write(descriptor: int, text: str) -> None:
    """Says who holds the lock, which is only of use to people."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
