"""Trains or resumes runs in processes that kill themselves, as kill -9 does, at the moment that they are told.

A request is a JSON list: recipe file, run directory, moment (see `arm`), and whether one call is to do for all.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first optimizer imports it, which takes longer than all of a tiny training

from acu_core import durable
from acu_core.experiments import frozen_twin
from acu_core.experiments.continuation import train_or_continue
from acu_core.recipe.recipe_file import load_recipe
from acu_core.train import run_training


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str) -> None:
    kind, _, text = moment.partition(":")
    countdown = [int(text or 0)]

    def due() -> bool:
        countdown[0] -= 1
        return countdown[0] == 0

    if kind == "iteration":
        original = run_training.RunTraining._train_one

        def train_one(self: Any, iteration: int) -> None:
            if iteration == int(text):
                die()
            original(self, iteration)

        run_training.RunTraining._train_one = train_one  # type: ignore[method-assign]
    elif kind in ("before-replace", "after-replace"):
        replace = os.replace

        def patched(source: Any, target: Any) -> None:
            hit = str(target).endswith(".pt") and due()
            if hit and kind == "before-replace":
                die()
            replace(source, target)
            if hit:
                die()

        os.replace = patched  # type: ignore[assignment]
    elif kind == "half-checkpoint":
        save = torch.save

        def half(content: Any, file: Any) -> None:
            if not due():
                save(content, file)
                return
            whole = io.BytesIO()
            save(content, whole)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            die()

        torch.save = half  # type: ignore[assignment]
    elif kind == "half-append":

        def append(self: Any, data: Any) -> None:
            if due():
                os.write(self._open_descriptor(), bytes(data)[: len(data) // 2])
                die()
            appended(self, data)

        appended = durable.AppendOnlyFile.append
        durable.AppendOnlyFile.append = append  # type: ignore[method-assign]
    elif kind == "before-evaluation":
        evaluate = run_training.evaluate_network

        def unseen(*arguments: Any, **options: Any) -> Any:
            if due():
                die()
            return evaluate(*arguments, **options)

        run_training.evaluate_network = unseen  # type: ignore[assignment]
    elif kind != "never":
        raise SystemExit(f"unknown moment {moment}")


def train_or_resume(recipe: str, run: str, moment: str, one_call: bool) -> None:
    # Other blocks than the uninterrupted run's: how records are grouped must not be seen in any file.
    run_training.BLOCK = 2
    arm(moment)
    if one_call:
        train_or_continue(load_recipe(recipe), Path(run))
    elif Path(run).exists():
        frozen_twin.resume(Path(run))
    else:
        frozen_twin.train(load_recipe(recipe), Path(run))


def main() -> None:
    """Reads a request a line and answers with the number of a new process, after the next line with its exit status.

    Forked from here rather than started anew, each process is spared the seconds that importing PyTorch takes.
    """
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                train_or_resume(*request)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(child, flush=True)
        # Reaped only now: until then the number cannot become another process's.
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
