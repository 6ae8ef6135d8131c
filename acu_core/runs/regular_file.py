"""Opens what lies in a run, which may be anything: a pipe would wait for a writer for ever."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from acu_core.errors import UserError


def open_regular(path: Path) -> BufferedReader:
    """The file at `path`, to be read. Raises FileNotFoundError, and UserError for what is no file or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} cannot be read: it is not a regular file")
    return os.fdopen(descriptor, "rb")
