"""How long runs will take: from the timings of runs of the same recipe, else from a few steps on made-up images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from acu_core.data.made_up import made_up_data
from acu_core.learn.timed_training import TimedTraining
from acu_core.learn.workplace import Workplace, choose_device, computing
from acu_core.recipe.schema import Recipe
from acu_core.forecast.known_data import SIZES
from acu_core.reproduce.plan import PlannedRun, RunState

STEPS = 3
LARGEST_BATCH = 16
"""Steps are measured on so many images and multiplied: a whole batch of large images would take minutes on a CPU."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one training iteration and of one evaluation of all test images."""

    iteration: float
    evaluation: float
    source: Literal["timings", "measured"]


@dataclass(frozen=True)
class Estimate:
    """How long a run still takes; `pace` is None for a finished run, and where nothing is known of its data."""

    seconds: float
    pace: Pace | None


def estimate_runs(
    runs: Sequence[PlannedRun],
    states: Mapping[Path, RunState],
    *,
    note: Callable[[str], None] = lambda text: None,
) -> dict[Path, Estimate]:
    """An estimate for every run, by its path.

    Timings are of runs in the same directory; a measurement takes seconds a network, the same network only once.
    """
    recorded: dict[str, Pace] = {}
    for run in runs:
        pace = _recorded_pace(states[run.path])
        if pace is not None:
            recorded[run.row.recipe] = pace
    measured: dict[str, Pace | None] = {}
    estimates = {}
    for run in runs:
        state = states[run.path]
        if state.done:
            estimates[run.path] = Estimate(0.0, None)
            continue
        pace = recorded.get(run.row.recipe)
        if pace is None:
            recipe = run.recipe
            key = repr((recipe.network, recipe.machine, recipe.data))
            if key not in measured:
                note(f"Measuring a few steps of {run.row.name} ...")
                measured[key] = measure_pace(recipe)
            pace = measured[key]
        seconds = 0.0
        if pace is not None:
            evaluations = _evaluations(recipe=run.recipe, after=state.iteration)
            seconds = pace.iteration * (run.iterations - state.iteration) + pace.evaluation * evaluations
        estimates[run.path] = Estimate(seconds, pace)
    return estimates


def measure_pace(recipe: Recipe) -> Pace | None:
    """The pace of the recipe's training on its device, decoding of images not included; None for unknown data."""
    size = SIZES.get(recipe.data.name)
    if size is None:
        return None
    device = choose_device(recipe.machine.device)
    batch = min(recipe.data.batch_size, LARGEST_BATCH)
    data = made_up_data(size.channels, size.size, size.classes, batch, recipe.seed)
    with computing(recipe.machine.threads or torch.get_num_threads()):
        place = Workplace(data.to(device), device, torch.get_num_threads())
        training = TimedTraining(recipe.changed(data={"batch_size": batch}), place)
        iteration = _seconds(training.train, device)
        evaluation = _seconds(training.evaluate, device)
    return Pace(iteration * recipe.data.batch_size / batch, evaluation * size.test_images / batch, "measured")


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    """The median of a few repetitions after one for warming up."""
    times = []
    for _ in range(1 + STEPS):
        started = time.monotonic()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.monotonic() - started)
    return statistics.median(times[1:])


def _recorded_pace(state: RunState) -> Pace | None:
    for entry in reversed(state.timings):
        if entry.iterations_per_second:
            return Pace(1 / entry.iterations_per_second, entry.evaluation_seconds, "timings")
    return None


def _evaluations(recipe: Recipe, after: int) -> int:
    """How many evaluations are still to come, the last one included."""
    every, last = recipe.schedule.evaluate_every, recipe.schedule.iterations
    return 1 + ((last - 1) // every - after // every if every else 0)
