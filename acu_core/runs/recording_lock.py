"""The lock that keeps two recorders from writing one file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from acu_core.errors import UserError
from acu_core.runs.inherited_descriptors import close_ours, keep_from_children


class RecordingLock:
    """Held on the recorded file itself, from here to `release`; the kernel releases it with the process.

    Readers do not ask for it. Where the file system knows no locks, nobody is kept out.

    Raises UserError when somebody holds it, and for a file that cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            # Not blocking: a pipe would wait for its other end.
            self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        keep_from_children(self._descriptor)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise UserError(
                f"another process, or another recorder of this one, is recording into {path}: wait for it, close it, "
                "or choose another file"
            ) from error
        except OSError:
            pass

    def release(self) -> None:
        """Lets others record; a second call, or one in a forked child, does nothing."""
        close_ours(self._descriptor)
