"""A process of its own that does what a training does, so that its memory is a training's."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from acu_core.data.data_set import DataSet
from acu_core.data.in_memory import InMemoryData
from acu_core.forecast.company import Company, accompanied, environments
from acu_core.forecast.high_water_mark import high_water_mark, start_high_water_mark
from acu_core.forecast.known_data import SIZES
from acu_core.forecast.pace import Measured, measure_pace
from acu_core.forecast.stand_in import stand_in_workplace
from acu_core.forecast.step_clock import Patience
from acu_core.forecast.work import Work
from acu_core.learn.network import new_network
from acu_core.learn.processes import AnotherFailedError, LostProcessError
from acu_core.learn.workplace import Workplace, computing
from acu_core.nn.parameter_count import parameter_count
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
    processes: int = 1
    company: Company = "none"
    made_up: bool = False
    """Whether the images are to be made up, of the data set's size."""


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
    source: str
    images_in_memory: bool
    """Whether the data set keeps its images in memory, rather than in files."""
    device: str
    threads: int
    test_images: int
    validation_images: int
    classes: int
    hidden: list[list[list[float]]] | None
    parameters: int
    gradient_bytes: int
    ended: float
    """When it was done, on the machine's `time.monotonic`."""
    end_seconds: float = 0.0
    """From then until the process was gone."""


def measure_in_processes(task: Task) -> list[Answer]:
    """Does `task` in a fresh process, or in as many as train together on this machine: an answer of each.

    Raises what a training would raise, and MemoryError where the system ends a process for want of memory.
    """
    with _own_cache(task.recipe) as cache:
        return _measured(task, cache)


@contextmanager
def _own_cache(recipe: Recipe) -> Iterator[dict[str, str]]:
    """The environment in which PyTorch compiles as if for the first time, and leaves nothing."""
    if not recipe.machine.compile:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="acu-plan-") as directory:
        yield {"TORCHINDUCTOR_CACHE_DIR": directory}


def _measured(task: Task, cache: Mapping[str, str]) -> list[Answer]:
    path = os.pathsep.join(path for path in sys.path if path)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for environment in environments(task.processes, task.company):
            running.append(
                subprocess.Popen(
                    [sys.executable, "-c", f"from {__name__} import serve; serve()"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**environment, **cache, "PYTHONPATH": path},
                )
            )
        # First all are told, then all are waited for: they meet one another.
        for process in running:
            assert process.stdin is not None
            process.stdin.write(pickle.dumps(task))
            process.stdin.flush()
        answers = [_answer_of(process) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
    failures = [answer for answer in answers if isinstance(answer, Exception)]
    # One says what went wrong, the others only that another one has failed.
    for failure in sorted(failures, key=lambda failure: isinstance(failure, AnotherFailedError | LostProcessError)):
        raise failure
    return [answer for answer in answers if isinstance(answer, Answer)]


def _answer_of(process: subprocess.Popen[bytes]) -> Answer | Exception:
    written, _ = process.communicate()
    if process.returncode == -signal.SIGKILL:
        return MemoryError("the system has ended the process that measured, as it does where a process needs too much")
    if process.returncode:
        return RuntimeError(f"the process that measures has ended with status {process.returncode}")
    gone = time.monotonic()
    answer: Answer | Exception = pickle.loads(written)
    return replace(answer, end_seconds=gone - answer.ended) if isinstance(answer, Answer) else answer


def answer_to(task: Task) -> Answer:
    """Does `task` in this process."""
    with accompanied(task.processes, task.company) as processes:
        stand_in = stand_in_workplace(task.recipe, whole=True, processes=processes) if task.made_up else None
        recipe, place = prepare(
            task.recipe,
            data_path=task.data_path,
            download=False,
            place=stand_in,
            events=NoEvents(),
            processes=processes,
        )
        loading = high_water_mark()
        start_high_water_mark(trim=False)
        start_seconds = time.monotonic() - task.started
        data = place.data
        size = SIZES[recipe.data.name] if task.made_up else None
        test_images = size.test_images if size is not None else data.test_count
        held_out = recipe.data.validation_images
        measured = measure_pace(
            recipe, place, patience=task.patience, work=task.work, test_images=test_images + held_out
        )
        parameters, gradient_bytes = _sizes(recipe, place)
        # Made-up images lie in memory, those of files would not.
        too_much = _image_bytes(data) if size is not None and not size.in_memory else 0
        training = high_water_mark() - too_much
        cuda = place.device.type == "cuda"
        device = torch.cuda.max_memory_reserved(place.device) if cuda else None
        hidden = data.hidden_positions
        return Answer(
            measured,
            Memory(
                loading - too_much,
                training,
                device,
                data.workers,
                _largest_child() if data.workers else 0,
            ),
            start_seconds,
            data.source,
            size.in_memory if size is not None else isinstance(data, InMemoryData),
            str(place.device),
            place.threads,
            test_images,
            held_out,
            data.classes,
            hidden.tolist() if hidden is not None else None,
            parameters,
            gradient_bytes,
            time.monotonic(),
        )


def _image_bytes(data: DataSet) -> int:
    assert isinstance(data, InMemoryData)
    return data.train_images.nbytes + data.test_images.nbytes


def _sizes(recipe: Recipe, place: Workplace) -> tuple[int, int]:
    """Parameters, and the bytes of their gradients."""
    with torch.device("meta"), computing(place.threads):
        model = new_network(recipe, Workplace(place.data, torch.device("meta"), place.threads), pretrained=False)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return parameter_count(model), sum(one.numel() * one.element_size() for one in learned)


def _largest_child() -> int:
    # Only those that have ended are counted, and these still decode: so they are asked. PyTorch's compiler has children
    # too, which are no decoders, and which multiprocessing does not know.
    marks = []
    for child in multiprocessing.active_children():
        status = Path(f"/proc/{child.pid}/status")
        try:
            facts: Mapping[str, str] = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if "VmHWM" in facts:
            marks.append(int(facts["VmHWM"].split()[0]) * 1024)
    return max(marks, default=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)


def serve() -> None:
    """Reads a task from standard input, does it, and writes the answer to standard output."""
    # Whoever waits for the answer shows what a signal means.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What libraries print must not come between.
    written = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    task: Task = pickle.load(sys.stdin.buffer)
    answer: Answer | Exception
    try:
        answer = answer_to(task)
    except (ValueError, RuntimeError, MemoryError, OSError, AnotherFailedError) as error:
        answer = error
    with written:
        pickle.dump(answer, written)
