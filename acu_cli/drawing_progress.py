"""Shows how far a picture is, with a bar for each part of the work."""

from __future__ import annotations

from contextlib import ExitStack

from acu_cli import terminal


class DrawingProgress:
    """A progress bar that begins when the number of frames is known, and anew when fewer frames are tried."""

    def __init__(self) -> None:
        self._shown = ExitStack()
        self._work: tuple[str, int] | None = None

    def __enter__(self) -> DrawingProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def drawing(self, done: int, total: int) -> None:
        """So many frames are drawn."""
        self._update("drawing", "frames", done, total)

    def computing(self, done: int, total: int) -> None:
        """So many receptive fields are computed."""
        self._update("computing", "fields", done, total)

    def _update(self, description: str, unit: str, done: int, total: int) -> None:
        if (description, total) != self._work:
            self._shown.close()
            self._work = description, total
            self._bar = self._shown.enter_context(terminal.progress(total, description, unit=unit))
        self._bar.update(done)
        if done == total:
            # A bar has a thread, beside which a second try would be drawn by one core alone.
            self._shown.close()
            self._work = None
