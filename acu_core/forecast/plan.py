"""What a training will take on this machine: how long, how much memory, how much of the disk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from acu_core.experiments.frozen_twin import frozen_recipe
from acu_core.forecast.disk import Disk, disk_of
from acu_core.forecast.measuring_process import Answer, Task, measure_in_process
from acu_core.forecast.pace import Pace
from acu_core.forecast.step_clock import Patience
from acu_core.forecast.work import Work, work_of
from acu_core.recipe.schema import Recipe
from acu_core.train.events import Events, NoEvents


@dataclass(frozen=True)
class Plan:
    """What was measured, and what follows for the whole training; all frozen twins included."""

    recipe: Recipe
    runs: tuple[Recipe, ...]
    """The recipe, and its frozen twin where it asks for one."""
    work: Work
    answer: Answer
    disk: Disk

    @property
    def pace(self) -> Pace:
        """How fast it trains."""
        return self.answer.measured.pace

    @property
    def training_seconds(self) -> float:
        """Of all iterations."""
        return self.pace.training_seconds(self.work)

    @property
    def seconds(self) -> float:
        """From the start of the command to its end."""
        return self.answer.start_seconds + self.pace.seconds(self.work)


def plan_training(
    recipe: Recipe, *, data_path: Path | None = None, patience: Patience | None = None, events: Events | None = None
) -> Plan:
    """Trains `recipe` for a moment in a process of its own, and counts what the whole of it comes to.

    Nothing stays on disk but what a training keeps for others too, such as the statistics of a data set. Raises
    UserError where the recipe cannot be trained here. Where its data are missing, though not named by `data_path` or
    the recipe, and are of a known size, images are made up.
    """
    runs = (recipe, *((frozen_recipe(recipe),) if recipe.compare_frozen else ()))
    work = _sum([work_of(run) for run in runs])
    (events or NoEvents()).note(f"Training {recipe.name} for a moment ...")
    task = Task(recipe, data_path, work, patience or Patience(), time.monotonic())
    answer = measure_in_process(task)
    disks = [
        disk_of(
            run,
            answer.measured.sample,
            test_images=answer.test_images,
            classes=answer.classes,
            hidden=answer.hidden,
        )
        for run in runs
    ]
    disk = disks[0] if len(disks) == 1 else disks[0] + disks[1]
    return Plan(recipe, runs, work, answer, disk)


def _sum(works: list[Work]) -> Work:
    return Work(
        sum(work.still for work in works),
        sum(work.moving for work in works),
        sum(work.evaluations for work in works),
        sum(work.checkpoints for work in works),
    )
