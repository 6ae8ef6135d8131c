"""A process that shows the training which this process does. Imports nothing heavy: see `beside_training`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from acu_cli.watch.echo import Echo
from acu_cli.watch.live_screen import LEAVE

_SECONDS_TO_END = 5.0


class TrainingView:
    """Shows a run on this process's standard error, a terminal, until `close`."""

    def __init__(self, run: Path) -> None:
        # The same modules as here, whatever lies in the working directory.
        program = f"import sys; sys.path[:] = {sys.path!r}; from acu_cli.watch.beside_training import main; main()"
        self._echo = Echo(sys.stderr.fileno())
        # Blocked there for good: Ctrl-C is for the training alone, which saves and then ends the view.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGQUIT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, os.fspath(run)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        assert self._process.stdin is not None
        # A view that is stopped must not stop the training.
        os.set_blocking(self._process.stdin.fileno(), False)

    @property
    def is_there(self) -> bool:
        """Whether it still shows the run."""
        return self._process.poll() is None

    def say(self, kind: str, text: str) -> None:
        """Shows a "note" or a "warning" at the foot of the picture until there is another one."""
        self._send({kind: text})

    def close(self) -> None:
        """Ends it, its last picture left on the terminal, which is as it was before."""
        self._send({"end": True})
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            status = self._process.wait(_SECONDS_TO_END)
        except BaseException as error:
            self._process.kill()
            status = self._process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                self._put_in_order()
                raise
        if status:
            self._put_in_order()

    def _put_in_order(self) -> None:
        self._echo.restore()
        sys.stderr.write(LEAVE)
        sys.stderr.flush()

    def _send(self, entry: dict[str, object]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            os.write(self._process.stdin.fileno(), json.dumps(entry).encode() + b"\n")
