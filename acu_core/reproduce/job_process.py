"""A process that trains one run of a series, seen from the one that gives the order."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

from acu_core.errors import Action, Remedy
from acu_core.reproduce.order import Order

Message = Mapping[str, Any]


class JobProcess:
    """Puts `(itself, message)` into `said` for each line that its process writes, and `(itself, None)` at its end."""

    def __init__(
        self,
        order: Order,
        said: queue.SimpleQueue[tuple[JobProcess, Message | None]],
        visible_devices: str | None = None,
    ) -> None:
        """`visible_devices` are the only GPUs that the process sees; with None all that this one sees."""
        self.order = order
        self._said = said
        environment = dict(os.environ)
        if visible_devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible_devices
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # The same modules as here, whatever the working directory holds.
        code = f"import sys; sys.path[:] = {sys.path!r}; from acu_core.reproduce.job import serve; serve()"
        # A session of its own: signals of a terminal reach this process, which tells the others once.
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        # Where it has ended already, its end is read like any other.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(order.as_line().encode())
            self._process.stdin.flush()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def number(self) -> int:
        """The process's number."""
        return self._process.pid

    def stop(self) -> None:
        """Tells it to save and to end; it takes the time that this takes. A second call does nothing."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def kill(self) -> None:
        """Ends it at once: its last checkpoint stands."""
        self._process.kill()

    def close(self) -> None:
        """Returns when it has ended, and nothing of it is left."""
        self._wait()
        self._errors.close()

    def why_it_ended(self) -> str:
        """What became of a process that ended without saying so; before `close`."""
        self._wait()
        status = self._process.returncode
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 10_000))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        last = f": {lines[-1].strip()}" if lines else ""
        if status >= 0:
            return f"its process ended with status {status}{last}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        # What the kernel does where memory is short, without a word to the process.
        short = ", as where memory is short" if status == -signal.SIGKILL else last
        return f"its process was ended by {name}{short}; the last checkpoint stands"

    def _wait(self) -> None:
        self.stop()
        self._process.wait()
        self._listener.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                # The last line of a killed process may be torn.
                if line.endswith(b"\n"):
                    self._said.put((self, json.loads(line)))
        self._said.put((self, None))


def remedies_of(message: Message) -> tuple[Remedy, ...]:
    """The remedies of a message that has some."""
    return tuple(Remedy(Action[action], subject) for action, subject in message["remedies"])
