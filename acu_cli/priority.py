"""How much of the processor a command that only looks on may have."""

from __future__ import annotations

import os
from contextlib import suppress


def give_way() -> None:
    """From now on this process runs when nobody else wants to, for a training has more use for the processor.

    On Linux not even its waking up interrupts another process, which the lowest niceness would still do.
    """
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        # Not everywhere allowed, as in some containers; then it is only nice.
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
