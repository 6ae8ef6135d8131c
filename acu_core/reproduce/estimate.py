"""How long runs will take: from the timings of runs of the same recipe, else from a few steps on made-up images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch.nn import functional

from acu_core.learn.optimizer import new_optimizer
from acu_core.learn.workplace import MEMORY_FORMATS, choose_device, computing
from acu_core.nn import active_layers
from acu_core.recipe.schema import Recipe
from acu_core.reproduce.known_data import SIZES, recipe_network
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
    """The pace of the recipe's network on its device, decoding of images not included; None for unknown data."""
    size = SIZES.get(recipe.data.name)
    device = choose_device(recipe.machine.device)
    with computing(recipe.machine.threads or torch.get_num_threads()):
        torch.manual_seed(recipe.seed)
        model = recipe_network(recipe)
        if model is None or size is None:
            return None
        layout = MEMORY_FORMATS[recipe.machine.memory_format]
        model.to(device).to(memory_format=layout)
        for layer in active_layers(model).values():
            # Off the grid, as in most of a training: on it, there is less to do.
            layer.positions.data.add_(0.5 * torch.rand_like(layer.positions))
        optimizer = new_optimizer(model, recipe)
        batch = min(recipe.data.batch_size, LARGEST_BATCH)
        images = torch.randn(batch, size.channels, size.size, size.size, device=device).contiguous(memory_format=layout)
        labels = torch.zeros(batch, dtype=torch.int64, device=device)

        def train() -> None:
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        @torch.no_grad()
        def evaluate() -> None:
            model(images).argmax(1).sum().item()

        step = _seconds(train, device)
        model.eval()
        forward = _seconds(evaluate, device)
    return Pace(step * recipe.data.batch_size / batch, forward * size.test_images / batch, "measured")


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
        speed, evaluation = entry.get("iterations_per_second"), entry.get("evaluation_seconds")
        if isinstance(speed, float) and speed > 0 and isinstance(evaluation, float):
            return Pace(1 / speed, evaluation, "timings")
    return None


def _evaluations(recipe: Recipe, after: int) -> int:
    """How many evaluations are still to come, the last one included."""
    every, last = recipe.schedule.evaluate_every, recipe.schedule.iterations
    return 1 + ((last - 1) // every - after // every if every else 0)
