"""Starts the processes of one training on this machine by torchrun's launcher, and says once how they ended."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from acu_cli import terminal
from acu_cli.processes.commands import go_on_command
from acu_cli.processes.member import show
from acu_cli.processes.messages import FOLDER, Messages
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
        os.environ[FOLDER] = folder
        messages = Messages(Path(folder))
        messages.tell_launcher(os.getpid())
        program = _PROGRAM.format(path=sys.path)
        # torchrun substitutes its own names in them.
        words = [word.replace("$", "$$") for word in ("-c", program, *arguments)]
        status = _run(_configuration(processes, folder), words, messages, processes)
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


def _configuration(processes: int, folder: str) -> LaunchConfig:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.launcher.api import LaunchConfig

    heard = [number.name for number in _STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
        signals_to_handle=",".join(heard),
        # What a library writes in one that ends before it is silent.
        logs_specs=DefaultLogsSpecs(folder, redirects=dict.fromkeys(range(1, processes), Std.ALL)),
    )


def _run(configuration: LaunchConfig, words: Sequence[str], messages: Messages, processes: int) -> int:
    """The exit status."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    stopped_by: signal.Signals | None = None
    failed: dict[int, int] = {}
    try:
        elastic_launch(configuration, sys.executable)(*words)
    except ChildFailedError as error:
        failed = {failure.local_rank: failure.exitcode for failure in error.failures.values()}
    except SignalException as error:
        stopped_by = error.sigval
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    # After a second signal the launcher does not wait for them.
    killed = [process for process in messages.processes() if _kill_child(process)]
    terminal.show_cursor()
    endings = messages.endings()
    # Where several say something, before they have met, all say the same.
    said = sorted((ending for ending in endings.values() if ending.text is not None), key=lambda e: (e.lost, e.rank))
    if said and not said[0].lost:
        show(said[0])
        return said[0].status
    if 0 in endings and endings[0].status in (0, *(128 + number for number in _STOPPING)):
        return endings[0].status
    if stopped_by is not None:
        if killed or messages.run() is not None:
            text = f"the processes did not end at {stopped_by.name} and were killed"
            terminal.error(_going_on(text, messages, processes))
        return 128 + stopped_by
    gone = {rank: status for rank, status in failed.items() if rank not in endings}
    if said and not gone:
        show(said[0])
        return said[0].status
    rank, status = next(iter((gone or failed).items()), (0, 1))
    terminal.error(_going_on(f"process {rank} of {processes} {_ended(status)}", messages, processes))
    return 1


def _kill_child(process: int) -> bool:
    """Kills what is still there of a process and of those that it has started."""
    with suppress(ChildProcessError, ProcessLookupError):
        if os.waitpid(process, os.WNOHANG) == (0, 0):
            os.killpg(process, signal.SIGKILL)
            return True
    return False


def _ended(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL: the system does it where memory is short)"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    if status > 128:
        return f"was ended by {signal.Signals(status - 128).name}"
    return f"ended with exit status {status}"


def _going_on(text: str, messages: Messages, processes: int) -> str:
    run = messages.run()
    if run is None:
        return f"{text} before the training began"
    return f"{text}; the last checkpoint is whole: go on with it by `{go_on_command(str(run), processes)}`"
