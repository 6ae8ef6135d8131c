"""Shows what a training tells: the events of `acu_core.train` on the terminal's progress line."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from acu_cli import terminal
from acu_cli.remedies import worded

if TYPE_CHECKING:
    from acu_core.errors import Remedy


class TrainingProgress:
    """An `acu_core.train.events.Events`. Leaving `with` takes the progress line down, whatever happens."""

    def __init__(self, unit: str = "it") -> None:
        self._unit = unit
        self._stack = ExitStack()
        self._shown: terminal.Progress | None = None

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def begin(self, total: int, done: int) -> None:
        """Puts up the progress line."""
        self._stack.close()
        self._shown = self._stack.enter_context(terminal.progress(total, "", unit=self._unit, done=done))

    def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
        """Moves it."""
        if self._shown is None:
            return
        fields: dict[str, str] = {}
        if loss is not None:
            fields["loss"] = f"{loss:.4f}"
        if accuracy is not None:
            fields["accuracy"] = f"{100 * accuracy:.1f} %"
        self._shown.describe(stage)
        self._shown.update(done, total=None, **fields)

    def note(self, text: str) -> None:
        """A line of its own."""
        terminal.note(text)

    def warn(self, text: str, *remedies: Remedy) -> None:
        """A warning line of its own."""
        terminal.warning(worded(text, remedies))
