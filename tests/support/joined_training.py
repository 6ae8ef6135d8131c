"""Trains by several processes, as torchrun starts them, and says what each of them came to.

As a program it is one of the processes. Its argument is a JSON list of jobs, done one after the other by all together:
["train", recipe file, run], ["resume", run], ["stop", recipe file, run, iteration, rank that is asked to stop],
["round", run, new run], ["fail", recipe file, run, iteration, rank that fails].
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any


def join(size: int, jobs: Sequence[Sequence[object]], *, timeout: float = 240) -> list[list[dict[str, Any]]]:
    """What each process says of each job; no process may be left after `timeout` seconds."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-W", "error", __file__, json.dumps(jobs, default=str)]
    processes = []
    for rank in range(size):
        announced = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        named = {**announced, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        environment = {**os.environ, **{name: str(value) for name, value in named.items()}}
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * size, outputs
    return [json.loads(output) for output in outputs]


def _work(jobs: list[list[Any]]) -> list[dict[str, Any]]:
    from acu_core.learn.joined_processes import joined
    from acu_core.learn.processes import AnotherFailedError

    done: list[dict[str, Any]] = []
    try:
        with joined():
            for kind, *arguments in jobs:
                done.append(_JOBS[kind](*arguments))
    except AnotherFailedError:
        done.append({"error": None})
    except Exception as error:
        done.append({"error": f"{type(error).__name__}: {error}"})
    return done


def _train(recipe: str, run: str) -> dict[str, Any]:
    from acu_core.experiments import frozen_twin
    from acu_core.recipe.recipe_file import load_recipe

    watching = _Watching()
    report = frozen_twin.train(load_recipe(recipe), Path(run), events=watching)
    return {**asdict(report), "seconds": None, "told": watching.told}


def _resume(run: str) -> dict[str, Any]:
    from acu_core.experiments import frozen_twin

    watching = _Watching()
    report = frozen_twin.resume(Path(run), events=watching)
    return {**asdict(report), "seconds": None, "told": watching.told}


def _round(run: str, out: str) -> dict[str, Any]:
    from acu_core.experiments.rounding import round_and_finetune

    return {**asdict(round_and_finetune(Path(run), Path(out))), "seconds": None}


def _stop(recipe: str, run: str, iteration: int, rank: int) -> dict[str, Any]:
    with _AtIteration(iteration, rank, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        return _train(recipe, run)


def _fail(recipe: str, run: str, iteration: int, rank: int) -> dict[str, Any]:
    def fail() -> None:
        from acu_core.data.decoder_pool import UnreadableImageError

        raise UnreadableImageError("7.jpg cannot be read as an image")

    with _AtIteration(iteration, rank, fail):
        return _train(recipe, run)


_JOBS = {"train": _train, "resume": _resume, "round": _round, "stop": _stop, "fail": _fail}


class _AtIteration:
    """Something happens in one process when it makes its share of one batch."""

    def __init__(self, iteration: int, rank: int, event: Any) -> None:
        self._at = (iteration, str(rank))
        self._event = event

    def __enter__(self) -> None:
        from acu_core.data.in_memory import InMemoryData

        self._original: Any = InMemoryData.training_rows

        def training_rows(data: Any, iteration: int, *arguments: Any, **named: Any) -> Any:
            if (iteration, os.environ["RANK"]) == self._at:
                self._event()
            return self._original(data, iteration, *arguments, **named)

        InMemoryData.training_rows = training_rows  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        from acu_core.data.in_memory import InMemoryData

        InMemoryData.training_rows = self._original  # type: ignore[method-assign]


class _Watching:
    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, total: int, done: int) -> None:
        self.told.append("begin")

    def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
        self.told.append("advance")

    def note(self, text: str) -> None:
        self.told.append("note")

    def warn(self, text: str, *remedies: object) -> None:
        self.told.append(text)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_work(json.loads(sys.argv[1]))))
