"""Ends this process when the one that started it is gone, by kill -9 too: nobody would end it any more."""

from __future__ import annotations

import os
import signal
import threading
import time

_ASKING_SECONDS = 0.5
_PATIENCE_SECONDS = 15.0


def end_with(parent: int) -> None:
    """From now on this process gets a SIGTERM when process `parent` is not its parent any more.

    It can save then; what is still there a quarter of a minute later is killed.
    """
    threading.Thread(target=_watch, args=(parent,), name="parent watch", daemon=True).start()


def _watch(parent: int) -> None:
    # Asked for rather than told by the kernel: that way works on every system, and where the parent has gone already.
    while os.getppid() == parent:
        time.sleep(_ASKING_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
