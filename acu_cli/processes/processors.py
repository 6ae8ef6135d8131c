"""The processors of a machine, shared out to the processes that train on it."""

from __future__ import annotations

import os
import sys


def share_of_processors(processes: int) -> int:
    """How many processors each of so many processes gets, at least one."""
    # Those that this process may use, where the system says so.
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, processors // processes)
