"""This process as one of several that train a run together: what it shows, which signals it takes, how it ends."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from acu_cli import json_report, terminal
from acu_cli.processes.messages import Ending, Sender
from acu_cli.processes.parent_watch import end_with
from acu_cli.processes.processors import share_of_processors
from acu_cli.processes.restart import remember_run

if TYPE_CHECKING:
    from acu_core.learn.announcement import Announcement

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


_begun: Member | None = None


def begun_member() -> Member | None:
    """This process as one of several, once it has begun as that."""
    return _begun


class Member:
    """One process among several. What all of them would say is said once."""

    def __init__(self, announcement: Announcement) -> None:
        self.rank = announcement.rank
        self._local_rank = announcement.local_rank
        self._local_size = announcement.local_size
        self._messages = Sender.here(self.rank)
        self._trains = False
        self._standard_error: int | None = None

    @classmethod
    def here(cls) -> Member | None:
        """This process, where torchrun or the like has started it as one of several."""
        if "WORLD_SIZE" not in os.environ:
            return None
        from acu_core.errors import UserError
        from acu_core.learn.announcement import announced

        try:
            announcement = announced()
        except UserError:
            # Who trains by several processes says what is wrong; for the others it is nothing.
            return None
        return None if announcement is None else cls(announcement)

    def begin(self) -> None:
        """Call first of all: silences all but the first process, and ends with who started it."""
        global _begun
        _begun = self
        for number in _STOPPING:
            # What it was started to ignore, as nohup does with SIGHUP, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        parent = os.getppid()
        if self._messages is not None:
            self._messages.tell_process()
            parent = self._messages.launcher
        elif os.environ.get("OMP_NUM_THREADS") == "1":
            # What torchrun sets where nobody has. PyTorch reads it when it is imported, which is still to come.
            os.environ["OMP_NUM_THREADS"] = str(share_of_processors(self._local_size))
        # Advice of DistributedDataParallel, retries of connections.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        end_with(parent)
        if self.rank != 0:
            sys.stdout.flush()
            sys.stderr.flush()
            self._standard_error = os.dup(2)
            # The descriptors, for C++ writes there too.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            os.close(nowhere)

    def train(self, run: Path) -> None:
        """From now on `run` is trained: who would end it waits until it has saved."""
        self._trains = True
        if self.rank == 0:
            remember_run(run)
            if self._messages is not None:
                self._messages.tell_run(run)

    def end(self, ending: Ending) -> NoReturn:
        """Ends this process; the ending's text is shown once whatever the number of processes.

        Without it the reason is shown already, or another process says it.
        """
        for number in _STOPPING:
            # Python's own handlers go before the process does, and these signals would change its exit status.
            signal.signal(number, signal.SIG_IGN)
        if self._messages is not None:
            self._messages.tell_ending(ending)
        elif ending.text is not None:
            _tell_torchrun(ending.text)
            # Before they meet all find the same; later on only the one that fails first knows why.
            if self._local_rank == 0 or _have_met():
                self._show(ending)
        # What Python would do, but for taking PyTorch apart: its threads may abort a process whose training is done, or
        # wait for others that are gone.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ending.status)

    def _show(self, ending: Ending) -> None:
        if self._standard_error is not None:
            os.dup2(self._standard_error, 2)
        show(ending)
        if terminal.expects_json():
            json_report.conclude(ending.status)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # While it trains, signals are wishes that the training takes. What comes after are those of who started the
        # processes, sent to all when the first has ended: by then this one ends anyway, and may be writing.
        if not self._trains:
            if self._messages is not None:
                self._messages.tell_ending(Ending(128 + number))
            os._exit(128 + number)


def show(ending: Ending) -> None:
    """Says how a process ended, where there is something to say."""
    if ending.text is not None and ending.is_traceback:
        terminal.note(ending.text)
    elif ending.text is not None:
        terminal.error(ending.text, message=ending.message, remedies=ending.remedies)


def _have_met() -> bool:
    # Not imported: where it is not there, they have not.
    processes = sys.modules.get("acu_core.learn.joined_processes")
    return processes is not None and bool(processes.have_met())


def _tell_torchrun(text: str) -> None:
    """In the form in which torchrun reads it, and prints it in its own report."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        extra = {"py_callstack": text, "timestamp": str(int(time.time()))}
        try:
            Path(file).write_text(json.dumps({"message": {"message": text, "extraInfo": extra}}))
        except OSError:
            # Half of it would be an error of torchrun's.
            with suppress(OSError):
                os.unlink(file)
