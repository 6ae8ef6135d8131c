"""The lock that keeps two processes from writing one run."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from acu_core.errors import UserError
from acu_core.runs.inherited_descriptors import close_ours, is_ours, keep_from_children

_ASKING_SECONDS = 0.05


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on the file `path`, which stays there. Raises UserError when another process holds it.

    The kernel releases it with the process, by kill -9 too, so there are no stale locks to clean up.
    """
    try:
        descriptor = _open(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror}") from error
    with _locked(path, descriptor, fcntl.LOCK_EX):
        _write(descriptor, f"{os.getpid()}\n")
        try:
            yield
        finally:
            # Not held in a forked child, whose copy is closed already.
            if is_ours(descriptor):
                _write(descriptor, "")


@contextmanager
def hold_lock_to_read(path: Path) -> Iterator[None]:
    """Keeps others from writing while this process reads. Raises UserError when one is writing.

    As nothing is changed, it needs no right to write: where the lock's file cannot be made, nobody has locked it.
    """
    try:
        descriptor = _open(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise UserError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            descriptor = _open(path, os.O_RDONLY)
        except OSError:
            yield
            return
    with _locked(path, descriptor, fcntl.LOCK_SH):
        yield


def is_held(path: Path) -> bool:
    """Whether a process holds the exclusive lock on the file `path`. Changes nothing.

    The holder's number is in the file while it holds the lock, and stays there only when it was killed: so the lock
    itself is asked for, for an instant, only where a number is. Where it cannot be opened, nobody is seen to hold it.
    """
    try:
        descriptor = _open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not os.pread(descriptor, 1, 0):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _open(path: Path, flags: int) -> int:
    # Not blocking: a pipe in the lock's place would wait for its other end.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def _write(descriptor: int, text: str) -> None:
    """Says who holds the lock, which is only of use to people."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


@contextmanager
def _locked(path: Path, descriptor: int, kind: int) -> Iterator[None]:
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            # Somebody may be asking, in `is_held`, who has it: that takes no longer than this.
            time.sleep(_ASKING_SECONDS)
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = ""
        with suppress(OSError):
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise UserError(
            f"{path.parent} is being written by another process (number {holder or 'unknown'}): wait for it or stop "
            "it first"
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    keep_from_children(descriptor)
    try:
        yield
    finally:
        close_ours(descriptor)
