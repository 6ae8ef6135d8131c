"""What a process does that trains one run of a series: it reads its order, and writes what happens as lines of JSON.

Its standard input stays open while it is to train. When it closes, because it is to stop or because the process that
gave the order is dead, of kill -9 too, the run is saved and the process ends: it never stays behind.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from acu_core.errors import Remedy, UserError
from acu_core.learn.workplace import Workplace
from acu_core.reproduce.order import Order, carry_out
from acu_core.train.environment import new_workplace

_STOP = signal.SIGTERM


def serve() -> None:
    """Carries out the order on standard input."""
    # What libraries print is no message: it goes where errors go.
    messages = _Messages(os.dup(1))
    os.dup2(2, 1)
    # A closed terminal and Ctrl-C are told by whoever gave the order, once: a second signal would not save.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(_STOP, messages.stop)
    order = Order.of_line(sys.stdin.readline())
    threading.Thread(target=_stop_with_input, daemon=True).start()
    try:
        report = carry_out(order, lambda: _place(order, messages), messages)
    except KeyboardInterrupt:
        messages.send(kind="end", stopped_by=_STOP.name)
    except (UserError, RuntimeError, OSError) as error:
        remedies = error.remedies if isinstance(error, UserError) else ()
        messages.send(kind="failed", message=str(error), remedies=_plain(remedies))
    else:
        messages.send(kind="end", stopped_by=report.stopped_by)


def _place(order: Order, messages: _Messages) -> Workplace:
    recipe = order.recipe
    place = new_workplace(recipe, data_path=order.data, download=order.download, events=messages)
    # Not before the data are loaded: their statistics have the bits of this process's own number of threads, which is
    # every job's.
    return place if recipe.machine.threads else dataclasses.replace(place, threads=order.threads)


def _stop_with_input() -> None:
    # Not by `sys.stdin`, whose lock Python could not take at its end.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), _STOP)


def _plain(remedies: tuple[Remedy, ...]) -> list[list[str]]:
    return [[remedy.action.name, remedy.subject] for remedy in remedies]


class _Messages:
    """`Events` that are told to the process that gave the order."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ignores = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Ends what is done before the training, which itself catches the first signal and saves."""
        if not self._ignores:
            self._ignores = True
            raise KeyboardInterrupt

    def send(self, **values: Any) -> None:
        """Writes a line. Nobody may read it any more: the run is saved all the same."""
        rest = memoryview((json.dumps(values) + "\n").encode())
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            pass

    def begin(self, total: int, done: int) -> None:
        """From here on signals are the training's, and a second one is to stop no saving."""
        self._ignores = True

    def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
        self.send(kind="advance", done=done, loss=loss, accuracy=accuracy)

    def note(self, text: str) -> None:
        self.send(kind="note", text=text)

    def warn(self, text: str, *remedies: Remedy) -> None:
        self.send(kind="warn", text=text, remedies=_plain(remedies))
