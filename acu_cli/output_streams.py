"""Standard output and standard error that never end the work, whoever reads them and whatever they can encode."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import TextIO

_NOBODY_READS = (errno.EPIPE, errno.EIO, errno.EBADF)
"""The reader of a pipe has ended, the terminal is gone, the stream was closed."""

_ESCAPED = "acu.escaped"


def steady_streams() -> None:
    """Replaces the process's own `sys.stdout` and `sys.stderr`; those that somebody else put there stay.

    What nobody reads is dropped: a training whose progress or report cannot be shown any more is still worth its
    result, so it goes on, is saved, and its exit status tells what became of it. A full disk under standard output is
    an error, as a result is lost that was asked for; under standard error it is not. Characters that the encoding does
    not have, and bytes of a file's name that are no text, are written as numbers.
    """
    _fill_closed()
    codecs.register_error(_ESCAPED, _escaped)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(1, "standard output", sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(2, "", sys.stderr)


def _fill_closed() -> None:
    # Else the next file that is opened, a run's log, gets the number of a closed stream and whatever is written there.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number: this one. Programs that are started from here inherit it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _stream(number: int, name: str, before: TextIO | None) -> TextIO:
    if before is not None:
        before.flush()
    encoding = before.encoding if before is not None else "utf-8"
    # Written through: what was refused is not tried once more at the end of the process, with a traceback.
    return io.TextIOWrapper(_Output(number, name), encoding=encoding, errors=_ESCAPED, write_through=True)


class _Output(io.FileIO):
    """A descriptor that is written whole. `name` is what an error calls it; without one there are no errors."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(number, "wb", closefd=False)
        self._name = name

    def write(self, data: bytes) -> int:  # type: ignore[override]
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[super().write(rest) or 0 :]
        except OSError as error:
            if self._name and error.errno not in _NOBODY_READS:
                raise OSError(error.errno, error.strerror, self._name) from error
        return len(data)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_as_numbers(character) for character in characters), error.end


def _as_numbers(character: str) -> str:
    # Python's stand-ins for bytes of file names that are no text.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("ascii", "backslashreplace").decode()
