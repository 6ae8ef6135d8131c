"""Starts the processes of one training on this machine by torchrun's launcher, and says once how they ended."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from acu_cli import terminal
from acu_cli.processes.commands import go_on_command
from acu_cli.processes.member import show
from acu_cli.processes.messages import Mailbox
from acu_cli.processes.processors import share_of_processors

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The same modules as here, wherever they lie; an early Ctrl-C ends it without a traceback.
_PROGRAM = """import sys
sys.path[:], sys.argv[0] = {path!r}, "acu"
import signal
if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN: signal.signal(signal.SIGINT, signal.SIG_DFL)
from acu_cli.app import main
main()
"""


def launch(processes: int, arguments: list[str]) -> NoReturn:
    """Runs `acu` with `arguments` in so many processes, and ends this one as they end."""
    # Of the launcher's own log nothing is for the user: what becomes of the processes is said below.
    logging.disable(logging.CRITICAL)
    _set_environment(processes)
    with tempfile.TemporaryDirectory(prefix="acu-", ignore_cleanup_errors=True) as folder:
        mailbox = Mailbox(Path(folder), processes)
        program = _PROGRAM.format(path=sys.path)
        # torchrun substitutes its own names in them.
        words = [word.replace("$", "$$") for word in ("-c", program, *arguments)]
        status = _Launch(processes, Path(folder), mailbox).run(words)
    sys.exit(status)


def _set_environment(processes: int) -> None:
    """What the processes inherit, where the user has not decided it."""
    os.environ.setdefault("OMP_NUM_THREADS", str(share_of_processors(processes)))
    # Retries and look-ups of addresses are no warnings to a user.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # All are on this machine: its name need not be known to any network.
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])


class _Launch:
    """So many processes; the launcher's own files lie in `folder`."""

    def __init__(self, processes: int, folder: Path, mailbox: Mailbox) -> None:
        self._processes = processes
        self._folder = folder
        self._mailbox = mailbox
        self._stopped_by: signal.Signals | None = None
        self._killed = False

    def run(self, words: list[str]) -> int:
        """Starts them, waits for their end and says how it came; returns the exit status."""
        from torch.distributed.elastic.multiprocessing import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import elastic_launch

        failed: dict[int, int] = {}
        for number in _STOPPING:
            # What it was started to ignore, as nohup does with SIGHUP, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        try:
            elastic_launch(self._configuration(), sys.executable)(*words)
        except ChildFailedError as error:
            # In the order in which they were seen: those that failed by themselves, then those that were ended.
            failed = {failure.local_rank: failure.exitcode for failure in error.failures.values()}
        except SignalException:
            # The processes have had it too, and have ended.
            pass
        for number in _STOPPING:
            signal.signal(number, signal.SIG_IGN)
        terminal.show_cursor()
        return self._conclude(failed)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        from torch.distributed.elastic.multiprocessing import SignalException

        if self._stopped_by is None:
            self._stopped_by = signal.Signals(number)
            # As its own handler does: the launcher passes it on and waits until all have saved.
            raise SignalException(f"stopped by {self._stopped_by.name}", self._stopped_by)
        # Both the kernel and the shell send SIGHUP when a terminal is closed; any other second one is impatience.
        if number != signal.SIGHUP:
            self._killed = True
            for process in self._mailbox.processes():
                _kill(process)

    def _configuration(self) -> LaunchConfig:
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
        from torch.distributed.launcher.api import LaunchConfig

        return LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=self._processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            monitor_interval=0.1,
            # The others are taken here.
            signals_to_handle="SIGQUIT",
            # What a library writes in one that ends before it is silent.
            logs_specs=DefaultLogsSpecs(str(self._folder), redirects=dict.fromkeys(range(1, self._processes), Std.ALL)),
        )

    def _conclude(self, failed: dict[int, int]) -> int:
        endings = self._mailbox.endings()
        # Where several say something, before they have met, all say the same.
        said = sorted((ending for ending in endings.values() if ending.text is not None), key=lambda end: end.lost)
        if said and not said[0].lost:
            show(said[0])
            return said[0].status
        begun = self._mailbox.run() is not None
        if 0 in endings and (endings[0].status == 0 or (begun and endings[0].status > 128)):
            # All is saved, and said.
            terminal.leave_json_to_another()
            return endings[0].status
        if self._stopped_by is not None:
            if self._killed or begun:
                terminal.error(self._going_on(f"the processes did not end at {self._stopped_by.name} and were killed"))
            return 128 + self._stopped_by.value
        gone = {rank: status for rank, status in failed.items() if rank not in endings}
        if said and not gone:
            show(said[0])
            return said[0].status
        rank, status = next(iter((gone or failed).items()), (0, 1))
        self._show_log(rank)
        terminal.error(self._going_on(f"process {rank} of {self._processes} {_ended(status)}"))
        return 1

    def _going_on(self, text: str) -> str:
        run = self._mailbox.run()
        if run is None:
            return f"{text} before the training began"
        return f"{text}; the last checkpoint is whole: go on with it by `{go_on_command(run, self._processes)}`"

    def _show_log(self, rank: int) -> None:
        """What a process wrote on its standard error, and nobody has seen."""
        for log in self._folder.glob(f"*/attempt_*/{rank}/stderr.log"):
            text = log.read_text(errors="replace").strip()
            if text:
                terminal.note(text)


def _kill(process: int) -> None:
    """Kills a process with those that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        # Each was started in a session of its own.
        if os.getpgid(process) == process:
            os.killpg(process, signal.SIGKILL)


def _ended(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL: the system does it where memory is short)"
    if status < 0 or status > 128:
        number = -status if status < 0 else status - 128
        return f"was ended by {signal.Signals(number).name if number in set(signal.Signals) else f'signal {number}'}"
    return f"ended with exit status {status}"
