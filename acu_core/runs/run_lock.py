"""The lock that keeps two processes from writing one run."""

from __future__ import annotations

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
def hold_lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on the file `path`, which stays there. Raises UserError when another process holds it.

    The kernel releases it with the process, by kill -9 too, so there are no stale locks to clean up.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
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
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        # Not held in a forked child, whose copy is closed already.
        if descriptor in _held:
            _held.discard(descriptor)
            os.ftruncate(descriptor, 0)
            os.close(descriptor)
