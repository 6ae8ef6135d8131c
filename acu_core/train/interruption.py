"""Ctrl-C, SIGTERM and SIGHUP as a wish to stop, which the loop grants after saving."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """While entered, the first SIGINT, SIGTERM or SIGHUP only sets `signal_name`.

    A second SIGINT or SIGTERM ends the process as usual. A second SIGHUP does not: both the kernel and the shell send
    one when a terminal is closed. A signal that the process was started to ignore, as nohup does with SIGHUP, stays
    ignored. Outside the main thread Python cannot catch signals: then this never sets anything.
    """

    _CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal_name is not None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in self._CAUGHT:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._catch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore(list(self._previous))

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.signal_name = self.signal_name or signal.Signals(number).name
        self._restore([caught for caught in self._previous if caught != signal.SIGHUP])

    def _restore(self, numbers: list[signal.Signals]) -> None:
        for number in numbers:
            handler = self._previous.pop(number)
            # None: the handler was set by C code, and Python cannot put it back.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
