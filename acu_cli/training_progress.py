"""Shows what a training tells: the events of `acu_core.train` on the terminal's progress line, or in a live view."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from acu_cli import terminal
from acu_cli.processes.member import begun_member
from acu_cli.remedies import worded

if TYPE_CHECKING:
    from acu_cli.watch.training_view import TrainingView
    from acu_core.errors import Remedy


class TrainingProgress:
    """`Events` and `RunListener` of `acu_core.train.events`, and `JobListener` of `acu_core.reproduce.job_queue`.

    Leaving `with` takes the progress line down, whatever happens.
    With `watch` a live view of the run's shapes stands in its place, where standard error is a terminal.
    """

    def __init__(self, unit: str = "it", *, watch: bool = False) -> None:
        self._unit = unit
        self._stack = ExitStack()
        self._shown: terminal.Progress | None = None
        self._watch = watch and terminal.is_live(sys.stderr)
        self._view: TrainingView | None = None
        self._said: list[tuple[str, str]] = []
        self._total = self._done = 0
        self._jobs: set[str] = set()
        if watch and not self._watch:
            terminal.note("There is no terminal for a live view: plain lines instead.")

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close_view()
        finally:
            self._stack.close()

    def begin_run(self, run: Path) -> None:
        """Puts up the live view, where one is wanted."""
        member = begun_member()
        if member is not None:
            member.train(run)
        if self._watch and self._view is None:
            from acu_cli.watch.training_view import TrainingView

            self._view = TrainingView(run)

    def begin(self, total: int, done: int) -> None:
        """Puts up the progress line."""
        self._stack.close()
        self._total, self._done = total, done
        if self._view is None:
            self._shown = self._stack.enter_context(terminal.progress(total, "starting", unit=self._unit, done=done))

    def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
        """Moves it."""
        if self._view is not None and not self._view.is_there:
            # Whatever has become of it: the training goes on, and so does what is told of it.
            self._close_view()
            self.begin(self._total, self._done)
        self._done = done
        if self._shown is None:
            return
        if self._jobs:
            # Each has a line of its own, or its words in the one line.
            self._shown.describe("all runs")
            self._shown.update(done)
            return
        self._shown.describe(stage)
        self._shown.update(done, total=None, **_figures(loss, accuracy))

    def job(self, name: str, done: int, total: int, loss: float | None, accuracy: float | None) -> None:
        """Shows one of several runs that are trained at once."""
        self._jobs.add(name)
        if self._shown is not None:
            self._shown.part(name, done, total, **_figures(loss, accuracy))

    def job_ended(self, name: str) -> None:
        """Shows it no more."""
        if self._shown is not None:
            self._shown.end_part(name)

    def note(self, text: str) -> None:
        """A line of its own."""
        self._say("note", text)

    def warn(self, text: str, *remedies: Remedy) -> None:
        """A warning line of its own."""
        self._say("warning", worded(text, remedies))

    def _say(self, kind: str, text: str) -> None:
        if self._view is None:
            (terminal.warning if kind == "warning" else terminal.note)(text)
        else:
            # Seen at once at the view's foot, and to stay once the terminal is an ordinary one again.
            self._said.append((kind, text))
            self._view.say(kind, text)

    def _close_view(self) -> None:
        view, self._view = self._view, None
        said, self._said = self._said, []
        try:
            if view is not None:
                view.close()
        finally:
            for kind, text in said:
                self._say(kind, text)


def _figures(loss: float | None, accuracy: float | None) -> dict[str, str]:
    fields: dict[str, str] = {}
    if loss is not None:
        fields["loss"] = f"{loss:.4f}"
    if accuracy is not None:
        fields["accuracy"] = f"{100 * accuracy:.1f} %"
    return fields
