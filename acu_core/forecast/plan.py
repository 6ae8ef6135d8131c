"""What a training will take on this machine: how long, how much memory, how much of the disk."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import frozen_recipe
from acu_core.forecast.company import Company, company_of
from acu_core.forecast.disk import Disk, disk_of
from acu_core.forecast.measuring_process import Answer, Task, measure_in_processes
from acu_core.forecast.pace import Pace
from acu_core.forecast.stand_in import is_missing
from acu_core.forecast.step_clock import Patience
from acu_core.forecast.work import Work, work_of
from acu_core.learn.workplace import choose_device
from acu_core.recipe.schema import Recipe
from acu_core.train.events import Events, NoEvents


@dataclass(frozen=True)
class Plan:
    """What was measured, and what follows for the whole training, a frozen twin included."""

    recipe: Recipe
    work: Work
    answers: tuple[Answer, ...]
    """One of each process that was measured."""
    disk: Disk
    processes: int
    company: Company
    made_up: bool
    """Whether the images were made up, because the data set is not here."""
    bandwidth: float | None
    """Bytes a second, where somebody has said so."""

    @property
    def answer(self) -> Answer:
        """That of the first process."""
        return self.answers[0]

    @property
    def pace(self) -> Pace:
        """How fast it trains."""
        return self.answer.measured.pace

    @property
    def peak_memory(self) -> int:
        """Bytes that a process takes at most, the one that takes most; decoding processes and GPUs not included."""
        return max(answer.memory.peak for answer in self.answers)

    @property
    def reduced_bytes(self) -> int:
        """Bytes of gradients that the processes sum up in an iteration."""
        return self.answer.gradient_bytes if self.processes > 1 else 0

    @property
    def communication_seconds(self) -> float:
        """What that adds to an iteration at the bandwidth that was given, in a ring, none of it behind the backward.

        Nothing where it was measured, and where no bandwidth is known.
        """
        if self.company != "elsewhere" or self.bandwidth is None:
            return 0.0
        return 2 * (self.processes - 1) / self.processes * self.reduced_bytes / self.bandwidth

    @property
    def start_seconds(self) -> float:
        """Until the training runs at its pace: the process's start, the data, and what the first iterations do once."""
        return self.answer.start_seconds + self.answer.measured.warming

    @property
    def compiling_seconds(self) -> float:
        """Of what is compiled in the first iterations, a twin's too; most is compiled, and counted, at the start."""
        measured = self.answer.measured
        return measured.compiling + (measured.compiling_again if self.recipe.compare_frozen else 0.0)

    @property
    def training_seconds(self) -> float:
        """Of all iterations."""
        return self.pace.training_seconds(self.work) + self.work.iterations * self.communication_seconds

    @property
    def seconds(self) -> float:
        """From the start of the command to its end."""
        rest = self.work.evaluations * self.pace.evaluation + self.work.checkpoints * self.pace.checkpoint
        return self.start_seconds + self.compiling_seconds + self.training_seconds + rest + self.answer.end_seconds


def plan_training(
    recipe: Recipe,
    *,
    data_path: Path | None = None,
    processes: int = 1,
    bandwidth: float | None = None,
    patience: Patience | None = None,
    events: Events | None = None,
) -> Plan:
    """Trains `recipe` for a moment in a process of its own, and counts what the whole of it comes to.

    Several processes are started together where this machine has a processor or a GPU for each; else one of them is
    measured, with its share of the batch, as if the others were on other machines and all that it gets from them came
    at once. Nothing stays on disk but what a training keeps for others too, such as the statistics of a data set.

    Raises UserError where the recipe cannot be trained here. Where its data are missing, though not named by
    `data_path` or the recipe, and are of a known size, images are made up.
    """
    events = events or NoEvents()
    runs = [recipe, *([frozen_recipe(recipe)] if recipe.compare_frozen else [])]
    work = sum(map(work_of, runs), Work())
    company = company_of(processes, choose_device(recipe.machine.device))
    made_up = False
    events.note(f"Training {recipe.name} for a moment ...")
    task = Task(recipe, data_path, work, patience or Patience(), time.monotonic(), processes, company)
    try:
        answers = measure_in_processes(task)
    except UserError as error:
        if not is_missing(error, recipe, data_path):
            raise
        made_up = True
        events.note(f"{recipe.data.name} is not here: training on made-up images of its size ...")
        answers = measure_in_processes(replace(task, made_up=True, started=time.monotonic()))
    first = answers[0]
    disks = [
        disk_of(
            run,
            first.measured.sample,
            test_images=first.test_images,
            validation_images=first.validation_images,
            classes=first.classes,
            hidden=first.hidden,
        )
        for run in runs
    ]
    disk = sum(disks[1:], disks[0])
    return Plan(recipe, work, tuple(answers), disk, processes, company, made_up, bandwidth)
