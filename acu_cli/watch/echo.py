"""What is typed while a picture is shown must not be seen in it."""

from __future__ import annotations

import signal
import termios
from contextlib import suppress
from typing import Any


class Echo:
    """The terminal at a descriptor, as it was when this was made; what is no terminal is left alone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._before: list[Any] | None = None
        with suppress(termios.error):
            self._before = termios.tcgetattr(descriptor)

    def switch_off(self) -> None:
        """From now on typed keys are not shown; Ctrl-C and Ctrl-Z work as before."""
        if self._before is not None:
            # At 3 are the local modes.
            self._set([*self._before[:3], self._before[3] & ~termios.ECHO, *self._before[4:]])

    def restore(self) -> None:
        """As it was, also by a process in the background."""
        if self._before is not None:
            self._set(self._before)

    def _set(self, attributes: list[Any]) -> None:
        # Whoever does this in the background would be stopped.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            with suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSANOW, attributes)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
