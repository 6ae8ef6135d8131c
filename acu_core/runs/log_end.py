"""The end of a log, without the rest: what a list of many runs needs of each."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from acu_core.errors import UserError
from acu_core.runs.json_lines import CHECKSUM, CHECKSUM_BYTES, refuse_constant
from acu_core.runs.regular_file import open_regular

_BLOCK = 1 << 13
_MOST_BYTES = 1 << 23
"""How far back an entry is looked for: some 60,000 iterations."""


@dataclass(frozen=True)
class LogEnd:
    """The last entry of a log, and the last one that has a key; None where there is none.

    Both are checked by their own checksum and that of the line before: `damage` is the sentence about one that does not
    fit. What lies before is not looked at.
    """

    last: dict[str, Any] | None = None
    last_with_key: dict[str, Any] | None = None
    damage: str | None = None


def read_log_end(path: str | os.PathLike[str], key: str) -> LogEnd:
    """The end of the log at `path`, torn lines left out; nothing where there is no file."""
    path = Path(path)
    try:
        with open_regular(path) as file:
            return _read(file, key)
    except FileNotFoundError:
        return LogEnd()
    except UserError as error:
        return LogEnd(damage=str(error))
    except _DamagedEndError as error:
        return LogEnd(damage=f"{path} is damaged near its end: {error}; restore the file from a copy")


class _DamagedEndError(Exception):
    """Says what is wrong with a line."""


def _read(file: BinaryIO, key: str) -> LogEnd:
    size = file.seek(0, os.SEEK_END)
    quoted = json.dumps(key).encode() + b":"
    content, begin = b"", size
    block = _BLOCK
    while begin and size - begin < _MOST_BYTES:
        begin = max(0, begin - block)
        content = os.pread(file.fileno(), size - begin, begin)
        block *= 4
        whole = content[: content.rfind(b"\n") + 1]
        found = whole.rfind(quoted)
        # The line before, for its checksum, must be whole too.
        if found >= 0 and (not begin or whole.count(b"\n", 0, found) >= 2):
            break
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        return LogEnd()
    found = whole.rfind(quoted)
    first = begin == 0
    return LogEnd(
        _entry(whole, len(whole) - 1, first),
        _entry(whole, whole.index(b"\n", found), first) if found >= 0 else None,
    )


def _entry(content: bytes, end: int, is_whole: bool) -> dict[str, Any]:
    """The entry of the line that ends at `end`."""
    begin = content.rfind(b"\n", 0, end) + 1
    line = content[begin:end]
    match = CHECKSUM.fullmatch(line[-CHECKSUM_BYTES:])
    before = content[content.rfind(b"\n", 0, max(0, begin - 1)) + 1 : max(0, begin - 1)]
    earlier = CHECKSUM.fullmatch(before[-CHECKSUM_BYTES:])
    known = earlier is not None or (is_whole and begin == 0)
    if match is None and earlier is not None:
        raise _DamagedEndError("a line has no checksum")
    if match is not None and known:
        checksum = zlib.crc32(line[:-CHECKSUM_BYTES], int(earlier[1], 16) if earlier is not None else 0)
        if checksum != int(match[1], 16):
            raise _DamagedEndError("a line's checksum does not fit it and the line before it")
    try:
        entry = json.loads(line, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _DamagedEndError(f"a line is not JSON ({error})") from error
    if not isinstance(entry, dict):
        raise _DamagedEndError("a line is not a JSON object")
    entry.pop("crc32", None)
    return entry
