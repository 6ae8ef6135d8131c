"""A terminal that shows one page after the other, and is as it was before when that ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from acu_cli.watch.echo import Echo
from acu_cli.watch.page import Page, palette

# The other screen, no cursor, no wrapping at the right edge; and back.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Puts a terminal in order again, also after a process that could not do so itself."""
_LEAST_ROWS, _LEAST_COLUMNS = 4, 20
_MOST_ROWS, _MOST_COLUMNS = 200, 500


class TerminalGoneError(Exception):
    """Nobody can see the terminal any more."""


@dataclass(frozen=True)
class PageChange:
    """What turns the page that a screen was given before into another one."""

    text: str
    is_whole: bool
    """Whether it does not matter what is on the screen."""
    version: int


class LiveScreen:
    """The terminal at a descriptor. While entered it shows pages; only what changes from one to the next is written.

    Keys that are typed meanwhile are not seen. Ctrl-Z leaves the screen and stops; going on in the foreground enters it
    again. SIGTERM and SIGHUP raise SystemExit.
    """

    def __init__(self, descriptor: int, *, encoding: str | None) -> None:
        self._descriptor = descriptor
        self.attributes, self.ascii_only = _abilities(descriptor, encoding)
        self._given: Page | None = None
        self._version = 0
        self._is_active = self._entered = False
        self._echo: Echo | None = None
        self._previous: dict[int, Any] = {}
        self.written = 0
        """Bytes written so far."""

    def __enter__(self) -> LiveScreen:
        handlers = {
            signal.SIGTERM: self._end,
            signal.SIGHUP: self._end,
            signal.SIGTSTP: self._pause,
            signal.SIGCONT: self._go_on,
        }
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, handler)
        self._is_active = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_active = False
        self._leave()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        try:
            size = os.get_terminal_size(self._descriptor)
        except OSError as error:
            raise TerminalGoneError from error
        # A terminal that does not know its size says 0.
        columns, rows = size.columns or 80, size.lines or 24
        return (
            min(max(rows, _LEAST_ROWS), _MOST_ROWS),
            min(max(columns, _LEAST_COLUMNS), _MOST_COLUMNS),
        )

    def change_to(self, page: Page, *, anew: bool = False) -> PageChange:
        """What is to be written when `page` shall follow the one given before; all with `anew`, if others wrote there.

        Pages can be given ahead of their time: `write` their changes in the same order.
        """
        # Asked for first: a signal may come between any two lines.
        version = self._version
        before, self._given = self._given, page
        if before is None or (before.rows, before.columns) != (page.rows, page.columns):
            text = "\x1b[0m\x1b[2J" + page.changes(None, self.attributes)
            return PageChange(text, True, version)
        if anew:
            before = Page(page.rows, page.columns).filled()
        return PageChange(page.changes(before, self.attributes), False, version)

    def write(self, change: PageChange) -> bool:
        """Writes it; False where the screen is no longer as it was supposed to be, and nothing was written."""
        if change.version != self._version or not self._is_active or self._is_in_background():
            self.forget()
            return False
        if not self._entered:
            self._enter()
        if change.is_whole and self._echo is not None:
            # A shell may have changed it while this process was stopped.
            self._echo.switch_off()
        if change.text:
            self._write(change.text)
        return True

    def forget(self) -> None:
        """The next page is drawn as a whole, and the changes up to now are void."""
        self._given = None
        self._version += 1

    def _enter(self) -> None:
        self._entered = True
        self._echo = Echo(self._descriptor)
        self._write(_ENTER)

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self.forget()
            if self._echo is not None:
                self._echo.restore()
            with suppress(TerminalGoneError):
                self._write(LEAVE)

    def _write(self, text: str) -> None:
        rest = memoryview(text.encode("ascii" if self.ascii_only else "utf-8"))
        self.written += len(rest)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise TerminalGoneError from error

    def _is_in_background(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) != os.getpgrp()
        except OSError:
            # Not this session's terminal: nobody can send us to the background.
            return False

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        # Entered again by the next page, unless it went on in the background.
        self.forget()


def _abilities(descriptor: int, encoding: str | None) -> tuple[Mapping[int, str], bool]:
    """Attributes by style, and whether nothing but ASCII can be shown."""
    from rich.console import Console

    with open(os.dup(descriptor), "w", encoding="utf-8") as file:
        console = Console(file=file)
        colours = None if console.no_color else console.color_system
    kind = os.environ.get("TERM", "")
    # The Linux console's font has no braille.
    return palette(colours), is_ascii(encoding) or kind in ("linux", "dumb", "vt100")


def is_ascii(encoding: str | None) -> bool:
    """Whether braille cannot be written in an encoding."""
    try:
        "\u28ff".encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return True
    return False
