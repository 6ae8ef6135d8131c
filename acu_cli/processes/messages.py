"""What the processes of one training leave for their launcher: who they are, which run they train, how they ended."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = "ACU_LAUNCHER"
"""The environment variable that names the folder of the messages, in the processes that `acu` itself has started."""


@dataclass(frozen=True)
class Ending:
    """How a process ended by itself: its exit status, and what is to be said of it, if anything.

    It is `lost` where it only found another one gone, which may be known better.
    """

    rank: int
    status: int
    text: str | None = None
    is_traceback: bool = False
    lost: bool = False


class Messages:
    """A folder of small files, each written by one process and whole as soon as it is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def here(cls) -> Messages | None:
        """The folder of this process's launcher; None where no `acu` has started it."""
        folder = os.environ.get(FOLDER)
        return cls(Path(folder)) if folder else None

    def tell_launcher(self, process: int) -> None:
        """The launcher's process number."""
        self._write("launcher", process)

    def launcher(self) -> int | None:
        """The launcher's process number."""
        return next((number for number in self._read("launcher") if isinstance(number, int)), None)

    def tell_process(self, rank: int, process: int) -> None:
        """A process's number in the system."""
        self._write(f"{rank}.process", process)

    def processes(self) -> list[int]:
        """The numbers of those that have begun."""
        return [number for number in self._read("*.process") if isinstance(number, int)]

    def tell_run(self, run: Path) -> None:
        """The run that is trained."""
        self._write("run", os.fsdecode(run))

    def run(self) -> Path | None:
        """The run that is trained, once it is there."""
        return next((Path(str(run)) for run in self._read("run")), None)

    def tell_ending(self, ending: Ending) -> None:
        """How a process ends."""
        self._write(f"{ending.rank}.ending", asdict(ending))

    def endings(self) -> dict[int, Ending]:
        """How those ended that could say so, by their ranks."""
        found = [Ending(**entry) for entry in self._read("*.ending") if isinstance(entry, dict)]
        return {ending.rank: ending for ending in found}

    def remove(self) -> None:
        """Removes all of it, where the launcher is not there any more to do that."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, name: str, content: object) -> None:
        # Nobody is left to read it where the folder is gone, and a full disk must not hide what it would say.
        with suppress(OSError):
            new = self._folder / f".{name}.{os.getpid()}"
            new.write_text(json.dumps(content))
            new.replace(self._folder / name)

    def _read(self, pattern: str) -> Iterator[object]:
        for path in sorted(self._folder.glob(pattern)):
            yield json.loads(path.read_text())
