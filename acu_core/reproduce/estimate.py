"""How long runs will take: from the timings of runs of the same recipe, else from a few steps on made-up images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from acu_core.forecast.known_data import SIZES
from acu_core.forecast.pace import Pace, measure_pace
from acu_core.forecast.stand_in import stand_in_workplace
from acu_core.forecast.step_clock import Patience
from acu_core.forecast.work import Work, work_of
from acu_core.recipe.schema import Recipe
from acu_core.reproduce.plan import PlannedRun, RunState
from acu_core.runs.timings import TimingRecord

QUICK = Patience(seconds=0.7, least=3, most=50)
GLANCE = Patience(seconds=0.0, least=1, most=1, skipped=1)
FEW_IMAGES = 16
"""A whole batch of large images would take minutes on a CPU: then so many are trained on, and the time multiplied."""
LONG_STEP = 1.0
"""Seconds from which on a whole batch takes too long to be measured for a table of runs."""


@dataclass(frozen=True)
class EstimatedPace:
    """Seconds of one training iteration, the mean of those still to come, and of one evaluation of all test images."""

    iteration: float
    evaluation: float
    source: Literal["timings", "measured"]


@dataclass(frozen=True)
class Estimate:
    """How long a run still takes; `pace` is None for a finished run, and where nothing is known of its data."""

    seconds: float
    pace: EstimatedPace | None


def estimate_runs(
    runs: Sequence[PlannedRun],
    states: Mapping[Path, RunState],
    *,
    note: Callable[[str], None] = lambda text: None,
) -> dict[Path, Estimate]:
    """An estimate for every run, by its path.

    Timings are of runs in the same directory; a measurement takes seconds a network, the same network only once.
    """
    recorded: dict[str, TimingRecord] = {}
    for run in runs:
        timing = _last_timing(states[run.path])
        if timing is not None:
            recorded[run.row.recipe] = timing
    work = {run.path: work_of(run.recipe, states[run.path].iteration) for run in runs}
    unknown = [run for run in runs if not states[run.path].done and run.row.recipe not in recorded]
    paces = _measure_networks(unknown, work, note)
    estimates = {}
    for run in runs:
        if states[run.path].done:
            estimates[run.path] = Estimate(0.0, None)
        elif run.row.recipe in recorded:
            estimates[run.path] = _from_timing(recorded[run.row.recipe], work[run.path])
        else:
            estimates[run.path] = _from_pace(paces[_network_key(run.recipe)], work[run.path])
    return estimates


def measure_quickly(recipe: Recipe, work: Work) -> Pace | None:
    """The pace of the recipe's training on its device, in seconds; decoding of images is not in it.

    None for data of unknown size.
    """
    batch_size = recipe.data.batch_size
    size = SIZES.get(recipe.data.name)
    if size is None:
        return None
    evaluated_images = size.test_images + recipe.data.validation_images
    times = 1.0
    if batch_size > FEW_IMAGES:
        evaluated = min(FEW_IMAGES, recipe.data.evaluation_batch_size)
        few = recipe.changed(data={"batch_size": FEW_IMAGES, "evaluation_batch_size": evaluated})
        pace = _measured(few, work, GLANCE, evaluated_images)
        times = batch_size / FEW_IMAGES
        if times * max(pace.still or 0.0, pace.moving or 0.0) > LONG_STEP:
            return _multiplied(pace, times)
    return _measured(recipe, work, QUICK, evaluated_images)


def _measured(recipe: Recipe, work: Work, patience: Patience, test_images: int) -> Pace:
    place = stand_in_workplace(recipe, whole=False)
    assert place is not None
    return measure_pace(recipe, place, patience=patience, work=work, test_images=test_images).pace


def _multiplied(pace: Pace, times: float) -> Pace:
    def one(seconds: float | None) -> float | None:
        return None if seconds is None else seconds * times

    return Pace(one(pace.still), one(pace.moving), pace.evaluation, pace.checkpoint)


def _measure_networks(
    runs: Sequence[PlannedRun], work: Mapping[Path, Work], note: Callable[[str], None]
) -> dict[Hashable, Pace | None]:
    """The pace of each network once, with those kinds of iterations that any of its runs has."""
    of_network: dict[Hashable, list[PlannedRun]] = {}
    for run in runs:
        of_network.setdefault(_network_key(run.recipe), []).append(run)
    paces = {}
    for key, alike in of_network.items():
        note(f"Measuring a few steps of {alike[0].row.name} ...")
        still, moving = (max(getattr(work[run.path], kind) for run in alike) for kind in ("still", "moving"))
        # A network whose positions may move is measured so, whichever of its runs comes first.
        recipe = next((run.recipe for run in alike if work[run.path].moving), alike[0].recipe)
        paces[key] = measure_quickly(recipe, Work(still=still, moving=moving))
    return paces


def _network_key(recipe: Recipe) -> Hashable:
    """The same for recipes whose iterations take as long: neither rates nor the schedule count."""
    return repr((recipe.network, recipe.machine, recipe.data, recipe.optimizer.name, recipe.average is not None))


def _from_timing(timing: TimingRecord, work: Work) -> Estimate:
    assert timing.iterations_per_second
    pace = EstimatedPace(1 / timing.iterations_per_second, timing.evaluation_seconds, "timings")
    return Estimate(pace.iteration * work.iterations + pace.evaluation * work.evaluations, pace)


def _from_pace(pace: Pace | None, work: Work) -> Estimate:
    if pace is None:
        return Estimate(0.0, None)
    mean = pace.training_seconds(work) / work.iterations
    return Estimate(pace.seconds(work), EstimatedPace(mean, pace.evaluation, "measured"))


def _last_timing(state: RunState) -> TimingRecord | None:
    return next((entry for entry in reversed(state.timings) if entry.iterations_per_second), None)
