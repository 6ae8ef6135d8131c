"""The most memory that this process has had at once."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def start_high_water_mark(*, trim: bool = True) -> int:
    """Lets the mark start anew from what is in use, where the system can; bytes.

    `trim` gives back what is no longer needed first, so that growth shows all that is taken from here on.
    """
    if _STATUS.exists():
        # What was freed on the way stays resident, and would be taken again unseen.
        gc.collect()
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim and give_back is not None:
            give_back(0)
        # Importing a large library needs more for a moment than stays in use, which would hide what comes after.
        Path("/proc/self/clear_refs").write_text("5")
    return high_water_mark()


def high_water_mark() -> int:
    """Bytes."""
    if _STATUS.exists():
        # Not getrusage: a process inherits that mark from the one that started it, and so from a large benchmark.
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
