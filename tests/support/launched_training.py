"""Real processes that train one run together, and what can be done to them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HANGING_SECONDS = 300
"""Only against tests that never end, on machines that are busy with something else."""
ENDING_SECONDS = 30
"""After what ends one process all of them are gone."""

SMALL = [
    word
    for value in (
        "compare_frozen=false",
        "machine.threads=1",
        "machine.device=cpu",
        "data.batch_size=16",
        "data.options={train_count=200, test_count=50}",
        "schedule.warm_up=5",
        "schedule.divisions=[]",
        "schedule.checkpoint_every=7",
        "schedule.evaluate_every=50",
    )
    for word in ("--set", value)
]
ACU = [sys.executable, "-m", "acu_cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


class Launched:
    """A command that starts processes, in a session of its own as a terminal starts it."""

    def __init__(self, *words: object, directory: Path, run: Path) -> None:
        self.run = run
        positions = run / "positions.bin"
        self._before = positions.stat().st_size if positions.exists() else 0
        # torchrun says more where nobody has set it.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [str(word) for word in words],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out = self.errors = ""

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            for number in self.ranks():
                os.kill(number, signal.SIGKILL)
            self.process.kill()
            self.process.communicate()

    def ranks(self) -> list[int]:
        """The numbers of the processes that it has started and that are there, in the order of their ranks."""
        return sorted(number for number, parent in _parents().items() if parent == self.process.pid)

    def wait_until_it_trains(self, saved: int = 0) -> None:
        """Until something more is recorded than when it was started, and a checkpoint of iteration `saved` is there."""
        positions = self.run / "positions.bin"
        deadline = time.monotonic() + HANGING_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if positions.exists() and positions.stat().st_size > self._before:
                numbers = [int(path.stem) for path in (self.run / "checkpoints").glob("*.pt")]
                if max(numbers, default=0) >= saved:
                    return
            time.sleep(0.005)
        self.process.kill()
        out, errors = self.process.communicate()
        raise AssertionError(f"it does not train: {self.process.returncode}\n{out}\n{errors}")

    def end(self, within: float = HANGING_SECONDS) -> int:
        """Waits for its end, and that of all that it has started; returns its exit status."""
        ranks = self.ranks()
        begun = time.monotonic()
        self.out, self.errors = self.process.communicate(timeout=within)
        while any(is_there(number) for number in ranks):
            assert time.monotonic() - begun < within, f"{ranks} are still there"
            time.sleep(0.05)
        return self.process.returncode

    def sentences(self) -> list[str]:
        """What it said went wrong."""
        return [line for line in self.errors.splitlines() if line.startswith("error: ")]


def is_there(process: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def settings(values: Sequence[str]) -> list[str]:
    """The options that set a recipe's values."""
    return [word for value in values for word in ("--set", value)]


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    return found
