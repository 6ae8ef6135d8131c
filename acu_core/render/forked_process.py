"""A fork of this process that works for it: a picture is in memory then, and nothing is imported again."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_MOST_PROCESSES = 4
_ENDING = (signal.SIGINT, signal.SIGTERM)
# A process that says nothing for so long is lost. Drawing a frame takes milliseconds.
PATIENCE_SECONDS = 20.0


def usual_processes() -> int:
    """One for each core, four at most; 1 where a fork is not safe: with other threads about, and not on Linux."""
    if sys.platform != "linux" or threading.active_count() > 1:
        return 1
    return min(_MOST_PROCESSES, len(os.sched_getaffinity(0)))


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals wait until the end: what Python calls around a fork would swallow an exception of theirs."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ForkedProcess:
    """Does `work` in a process of its own and ends; `lost` where there is no room for another process.

    Neither Ctrl-C nor an error of the work's is heard of: whoever made it sees that something is missing. `closed` are
    descriptors of this process that the other must not hold open.
    """

    def __init__(self, work: Callable[[], None], closed: list[int]) -> None:
        self.lost = False
        with warnings.catch_warnings():
            # Python 3.12 warns of threads of libraries, which wait for work that a child never gives them.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self._process = os.fork()
            except OSError:
                self._process, self.lost = -1, True
        if self._process == 0:
            try:
                for descriptor in closed:
                    os.close(descriptor)
                # Ctrl-C reaches every process of a terminal; the parent decides.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
                # A collection would finish objects of the parent's.
                gc.disable()
                work()
            finally:
                # At once: what the parent has open is the parent's to close.
                os._exit(0)

    def end(self) -> None:
        """Ends the process, whatever it is doing: it has nothing to lose."""
        if self._process > 0:
            with suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._process, 0)
