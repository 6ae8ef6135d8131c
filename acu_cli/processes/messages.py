"""What the processes of one training tell their launcher: who they are, which run they train, how they ended.

Each writes into a named pipe of its own, which holds some ten kilobytes until the launcher reads it: nothing of it
needs room on a disk, which may be full just then.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

LAUNCHER = "ACU_LAUNCHER"
"""The environment variable of processes that `acu` has started: its process number, and the folder of the pipes."""

_LONGEST = 10_000


@dataclass(frozen=True)
class Ending:
    """How a process ended by itself: its exit status, and what is to be said of it, if anything.

    It is `lost` where it only found another one gone, which may be known better. `message` and `remedies` are the two
    halves of the text, where it has two.
    """

    status: int
    text: str | None = None
    is_traceback: bool = False
    lost: bool = False
    message: str | None = None
    remedies: list[str] = field(default_factory=list)


class Sender:
    """In a process that was started. Nothing it tells is worth an error, and nobody may be there to read it."""

    def __init__(self, launcher: int, pipe: Path) -> None:
        self.launcher = launcher
        self._pipe = pipe

    @classmethod
    def here(cls, rank: int) -> Sender | None:
        """That of process `rank`, this one; None where no `acu` has started it."""
        launcher, _, folder = os.environ.get(LAUNCHER, "").partition(" ")
        return cls(int(launcher), Path(folder) / str(rank)) if launcher.isdecimal() else None

    def tell_process(self) -> None:
        """This process's number in the system."""
        self._tell("process", os.getpid())

    def tell_run(self, run: Path) -> None:
        """The run that is trained."""
        self._tell("run", os.fsdecode(run))

    def tell_ending(self, ending: Ending) -> None:
        """How this process ends; after that nothing is told."""
        text, message = (half and half[-_LONGEST:] for half in (ending.text, ending.message))
        self._tell("ending", asdict(replace(ending, text=text, message=message)))
        if os.getppid() != self.launcher:
            # Nobody else is left to do it.
            shutil.rmtree(self._pipe.parent, ignore_errors=True)

    def _tell(self, name: str, value: object) -> None:
        with suppress(OSError):
            pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, json.dumps({name: value}).encode() + b"\n")
            finally:
                os.close(pipe)


class Mailbox:
    """In the launcher, for so many processes; in a folder that is its own."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._pipes = []
        self._told = [b""] * processes
        for rank in range(processes):
            os.mkfifo(folder / str(rank))
            # From now on it can be written to, and keeps what is written.
            self._pipes.append(os.open(folder / str(rank), os.O_RDONLY | os.O_NONBLOCK))
        os.environ[LAUNCHER] = f"{os.getpid()} {folder}"

    def processes(self) -> list[int]:
        """The numbers of the processes that have begun."""
        return [int(entries["process"]) for entries in self._read() if "process" in entries]

    def run(self) -> str | None:
        """The run that is trained, once it is there."""
        return self._read()[0].get("run")

    def endings(self) -> dict[int, Ending]:
        """How those ended that could tell it, by their ranks."""
        return {rank: Ending(**entries["ending"]) for rank, entries in enumerate(self._read()) if "ending" in entries}

    def _read(self) -> list[dict[str, Any]]:
        for rank, pipe in enumerate(self._pipes):
            with suppress(BlockingIOError):
                while data := os.read(pipe, 65536):
                    self._told[rank] += data
        # A line that is not whole was being written by a process that was killed.
        lines = [[json.loads(line) for line in told.split(b"\n")[:-1]] for told in self._told]
        return [{name: value for entry in entries for name, value in entry.items()} for entries in lines]
