"""Keys and values as they stand in a message: one line, printable, never long."""

from __future__ import annotations

import reprlib

LONGEST = 60
"""Characters of a key or a value in a message."""


def clipped(text: str) -> str:
    """`text` in one line of printable characters, cut in its middle where it is long."""
    line = text if text.isprintable() else text.encode("unicode_escape", "surrogatepass").decode("ascii")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 23]}...{line[-20:]}"


def shown(value: object) -> str:
    """A value from TOML in one short line."""
    if isinstance(value, str):
        # Cut first: a text can be as long as a file.
        return repr(value) if len(value) <= LONGEST and value.isprintable() else f"'{clipped(value[:1000])}'"
    if isinstance(value, bool):
        return "true" if value else "false"
    short = reprlib.Repr()
    short.maxlist = short.maxdict = short.maxlevel = 4
    try:
        return clipped(short.repr(value))
    except ValueError:
        # Python does not write out whole numbers of thousands of digits.
        return "a number of thousands of digits"
