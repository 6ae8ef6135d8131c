"""Ctrl-C and SIGTERM while a file is being written: what was begun is tidied up, and one sentence says how it ended."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import typer

from acu_cli import terminal


class _Stopped(KeyboardInterrupt):
    """A signal other than that of Ctrl-C, which ends what is being done in the same way."""


@contextlib.contextmanager
def ends_with(sentence: str) -> Iterator[None]:
    """Ends the command with `sentence` and 128 + the signal's number when a signal comes within."""
    caught = signal.SIGINT

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught = signal.Signals(number)
        raise _Stopped

    here = threading.current_thread() is threading.main_thread()
    # Only where nobody else listens, and never where it is ignored.
    previous = signal.signal(signal.SIGTERM, stop) if here and _is_default(signal.SIGTERM) else None
    try:
        yield
    except KeyboardInterrupt:
        terminal.error(f"interrupted: {sentence}")
        raise typer.Exit(128 + caught) from None
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _is_default(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_DFL
