"""`acu watch` on a terminal that nobody sees, to measure what it costs."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS_TO_BEGIN = 60.0


class MeasuredView:
    """A process that watches a run, on a pseudo-terminal. Get one by `watching`."""

    def __init__(self, process: subprocess.Popen[bytes], controller: int) -> None:
        self._process = process
        self._controller = controller
        self._written = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def rest(self) -> None:
        """From now on it does nothing."""
        # Not SIGTSTP, at which it would put its terminal in order first.
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """From now on it watches."""
        self._process.send_signal(signal.SIGCONT)

    def used(self) -> tuple[float, int]:
        """Seconds of processor time, and bytes written to its terminal, up to now."""
        times = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"), self._written

    def wait_for_picture(self) -> None:
        """Returns when it has begun to draw."""
        end = time.monotonic() + _SECONDS_TO_BEGIN
        while not self._written:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the view did not begin")
            time.sleep(0.05)

    def _read(self) -> None:
        while True:
            try:
                content = os.read(self._controller, 1 << 16)
            except OSError:
                # It has ended.
                return
            self._written += len(content)


@contextmanager
def watching(run: Path, *, rows: int = 24, columns: int = 80) -> Iterator[MeasuredView]:
    """Watches `run` on a terminal of that size."""
    controller, terminal = pty.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        program = f"import sys; sys.path[:] = {sys.path!r}; from acu_cli.app import main; main()"
        variables = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
        process = subprocess.Popen(
            [sys.executable, "-c", program, "watch", os.fspath(run)],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=variables,
            start_new_session=True,
        )
    finally:
        os.close(terminal)
    try:
        view = MeasuredView(process, controller)
        view.wait_for_picture()
        yield view
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait()
        os.close(controller)
