"""Words as they can be typed in a shell."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable


def quoted(word: str | os.PathLike[str]) -> str:
    """`word` in quotes where it needs some. Bytes that are no text are written as numbers, `$'run\\xff'`."""
    text = os.fspath(word)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "$'" + "".join(_escaped(byte) for byte in os.fsencode(text)) + "'"
    return shlex.quote(text)


def joined(words: Iterable[str | os.PathLike[str]]) -> str:
    """A whole command line."""
    return " ".join(quoted(word) for word in words)


def _escaped(byte: int) -> str:
    character = chr(byte)
    return character if character.isascii() and character.isprintable() and character not in "'\\" else f"\\x{byte:02x}"
