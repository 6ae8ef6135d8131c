"""A program on a terminal of its own, whose screen can be read."""

from __future__ import annotations

import copy
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyte


class _Screen(pyte.Screen):
    """A screen with the other one that full-screen programs use: leaving that brings back text and cursor."""

    _OTHER_SCREEN = 1049
    _before: tuple[Any, Any] | None = None

    def set_mode(self, *modes: int, **options: bool) -> None:
        if self._OTHER_SCREEN in modes and options.get("private") and self._before is None:
            self._before = copy.deepcopy(self.buffer), copy.copy(self.cursor)
            self.erase_in_display(2)
        super().set_mode(*modes, **options)

    def reset_mode(self, *modes: int, **options: bool) -> None:
        super().reset_mode(*modes, **options)
        if self._OTHER_SCREEN in modes and options.get("private") and self._before is not None:
            (self.buffer, self.cursor), self._before = self._before, None
            self.dirty.update(range(self.lines))


class PseudoTerminal:
    """Runs `arguments` as a session's leader on a terminal of 24 rows and 80 columns. A context manager."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.settings = termios.tcgetattr(terminal)
        self._terminal = terminal
        variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        variables |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8", **(environment or {})}
        self.process = subprocess.Popen(
            list(arguments),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=variables,
            cwd=directory,
            # Its own terminal: what is typed there, Ctrl-C too, is for this program.
            preexec_fn=_own_terminal,
        )
        self.written = b""
        self.screen = _Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._controller)
        os.close(self._terminal)

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    @property
    def is_as_before(self) -> bool:
        """Whether its settings are those that it began with."""
        return termios.tcgetattr(self._terminal) == self.settings

    @property
    def echoes(self) -> bool:
        """Whether it shows what is typed."""
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    def type(self, keys: bytes) -> None:
        """Types on its keyboard."""
        os.write(self._controller, keys)

    def resize(self, rows: int, columns: int) -> None:
        """Makes its window of another size."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def read(self, seconds: float = 0.05) -> None:
        """Shows what it writes for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self._controller], [], [], left)
            if not ready:
                return
            content = os.read(self._controller, 1 << 16)
            self.written += content
            self._stream.feed(content)

    def wait_for(self, condition: Callable[[str], bool], what: str, seconds: float = 60.0) -> None:
        """Reads until the text on the screen fulfils the condition."""
        end = time.monotonic() + seconds
        while not condition(self.text):
            if time.monotonic() > end:
                raise AssertionError(f"{what} was not seen:\n{self.text}")
            self.read()

    def wait(self, seconds: float = 60.0) -> int:
        """Reads until the program ends; its exit status."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end:\n{self.text}"
            self.read()
        self.read(0.2)
        return self.process.returncode


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
