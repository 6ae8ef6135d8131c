"""A process of its own that does what a training does, so that its memory is a training's."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from acu_core.errors import UserError
from acu_core.forecast.high_water_mark import high_water_mark, start_high_water_mark
from acu_core.forecast.known_data import SIZES
from acu_core.forecast.pace import Measured, measure_pace
from acu_core.forecast.stand_in import is_missing, stand_in_workplace
from acu_core.forecast.step_clock import Patience
from acu_core.forecast.work import Work
from acu_core.learn.network import new_network
from acu_core.learn.workplace import Workplace, computing
from acu_core.recipe.schema import Recipe
from acu_core.train.begin import prepare
from acu_core.train.events import NoEvents


@dataclass(frozen=True)
class Task:
    """What is measured. `started` is when the process was started, on the machine's `time.monotonic`."""

    recipe: Recipe
    data_path: Path | None
    work: Work
    patience: Patience
    started: float


@dataclass(frozen=True)
class Memory:
    """The most bytes in use at once: of the process until its data were loaded, and from then on.

    `device` is what PyTorch took of a GPU's memory; `decoder` is the largest process that decodes images.
    """

    loading: int
    training: int
    device: int | None
    workers: int
    decoder: int

    @property
    def peak(self) -> int:
        """Of the process that trains, at any time."""
        return max(self.loading, self.training)


@dataclass(frozen=True)
class Answer:
    """What came out."""

    measured: Measured
    memory: Memory
    start_seconds: float
    """From the start of the process until the first iteration could begin."""
    made_up: bool
    """Whether the images are made up, because the data set is not here."""
    source: str
    device: str
    threads: int
    test_images: int
    classes: int
    hidden: list[list[list[float]]] | None
    parameters: int
    gradient_bytes: int


def measure_in_process(task: Task) -> Answer:
    """Does `task` in a fresh process.

    Raises what a training would raise, and MemoryError where the system ends the process for want of memory.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=pickle.dumps(task),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        raise MemoryError("the system has ended the process that measured, as it does where a process needs too much")
    if done.returncode:
        raise RuntimeError(f"the process that measures has ended with status {done.returncode}")
    answer: Answer | Exception = pickle.loads(done.stdout)
    if isinstance(answer, Exception):
        raise answer
    return answer


def answer_to(task: Task) -> Answer:
    """Does `task` in this process."""
    recipe, place, made_up = _begin(task)
    loading = high_water_mark()
    start_high_water_mark(trim=False)
    start_seconds = time.monotonic() - task.started
    data = place.data
    test_images = SIZES[recipe.data.name].test_images if made_up else data.test_count
    measured = measure_pace(recipe, place, patience=task.patience, work=task.work, test_images=test_images)
    training = high_water_mark()
    parameters, gradient_bytes = _sizes(recipe, place)
    device = None
    if place.device.type == "cuda":
        device = torch.cuda.max_memory_reserved(place.device)
    hidden = data.hidden_positions
    workers = data.workers
    return Answer(
        measured,
        Memory(loading, training, device, workers, _largest_child() if workers else 0),
        start_seconds,
        made_up,
        data.source,
        str(place.device),
        place.threads,
        test_images,
        data.classes,
        hidden.tolist() if hidden is not None else None,
        parameters,
        gradient_bytes,
    )


def _begin(task: Task) -> tuple[Recipe, Workplace, bool]:
    recipe = task.recipe
    try:
        recipe, place = prepare(recipe, data_path=task.data_path, download=False, place=None, events=NoEvents())
        return recipe, place, False
    except UserError as error:
        stand_in = stand_in_workplace(recipe, whole=True) if is_missing(error, recipe, task.data_path) else None
        if stand_in is None:
            raise
    recipe, place = prepare(recipe, data_path=None, download=False, place=stand_in, events=NoEvents())
    return recipe, place, True


def _sizes(recipe: Recipe, place: Workplace) -> tuple[int, int]:
    """Parameters, and the bytes of their gradients."""
    with torch.device("meta"), computing(place.threads):
        model = new_network(recipe, Workplace(place.data, torch.device("meta"), place.threads), pretrained=False)
    parameters = list(model.parameters())
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    return sum(map(torch.Tensor.numel, parameters)), sum(one.numel() * one.element_size() for one in learned)


def _largest_child() -> int:
    # Only those that have ended are counted, and these still decode: so they are asked.
    marks = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts: Mapping[str, str] = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if facts.get("PPid", "").strip() == str(os.getpid()) and "VmHWM" in facts:
            marks.append(int(facts["VmHWM"].split()[0]) * 1024)
    return max(marks, default=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)


def _main(asked: BinaryIO) -> None:
    # Whoever waits for the answer shows what a signal means.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What libraries print must not come between.
    answer_to_whom = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    task: Task = pickle.load(asked)
    answer: Answer | Exception
    try:
        answer = answer_to(task)
    except (ValueError, RuntimeError, MemoryError, OSError) as error:
        answer = error
    with answer_to_whom:
        pickle.dump(answer, answer_to_whom)


if __name__ == "__main__":
    # By its own name, or what is pickled would be of a module that is called otherwise.
    from acu_core.forecast import measuring_process

    measuring_process._main(sys.stdin.buffer)
