"""What a training tells whoever watches it: the library never prints."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from acu_core.errors import Remedy
from acu_core.learn.processes import Processes


class Events(Protocol):
    """Told while training goes on; each call must return quickly."""

    def begin(self, total: int, done: int) -> None:
        """The whole work is `total` iterations, all stages together, of which `done` were done earlier."""

    def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
        """`done` of the whole work is done; mean `loss` and `accuracy` (0 to 1) of the latest training batches."""

    def note(self, text: str) -> None:
        """What is being done where nothing can be counted, such as loading data."""

    def warn(self, text: str, *remedies: Remedy) -> None:
        """Something that the user should know although the work goes on, and what would help."""


@runtime_checkable
class RunListener(Protocol):
    """What `Events` may have besides."""

    def begin_run(self, run: Path) -> None:
        """The run in the directory `run` is locked, and trained from now on: called before `begin`."""


def tell_run(events: Events, run: Path) -> None:
    """Tells the run to events that listen for it."""
    if isinstance(events, RunListener):
        events.begin_run(run)


def heard_by(events: Events | None, processes: Processes) -> Events:
    """What a training tells its events to: of several processes, the first one's are told."""
    return events if events is not None and processes.leads else NoEvents()


class NoEvents:
    """Nobody watches."""

    def begin(self, total: int, done: int) -> None:
        """Does nothing."""

    def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
        """Does nothing."""

    def note(self, text: str) -> None:
        """Does nothing."""

    def warn(self, text: str, *remedies: Remedy) -> None:
        """Does nothing."""
