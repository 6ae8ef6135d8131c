"""What a plan says beside what then happens: a short training of a recipe, planned and then really done."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from acu_core.experiments.frozen_twin import FROZEN
from acu_core.forecast.plan import Plan, plan_training
from acu_core.forecast.step_clock import Patience
from acu_core.recipe.recipe_file import load_recipe, recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.timings import read_timings

RECIPES = ("planted", "cifar10-plain-base", "cifar10-plain-acu", "cifar10-residual-acu")
LEAST_ITERATIONS = 60


@dataclass(frozen=True)
class Figures:
    """Seconds, of an iteration, of an evaluation and of the whole command, and bytes, of memory and of the run."""

    iteration: float
    evaluation: float
    total: float
    memory: int
    disk: int


@dataclass(frozen=True)
class PlanAndTruth:
    """One comparison."""

    recipe: str
    iterations: int
    planned: Figures
    happened: Figures

    @property
    def ratios(self) -> dict[str, float]:
        """What was planned to what happened, by the names of the figures."""
        happened = asdict(self.happened)
        return {what: value / happened[what] for what, value in asdict(self.planned).items()}


def compare_plan(
    name: str,
    command: Callable[[Path, Path], Sequence[str]],
    *,
    data_path: Path | None,
    seconds: float = 20.0,
    overrides: Sequence[str] = (),
) -> PlanAndTruth:
    """Plans the recipe `name`, shortened to about so many seconds of iterations, and trains it.

    Half of the iterations are the warm-up's; it is evaluated once, at the end. A plan measures as long as it does for
    anybody, but no longer than `seconds`. `command(recipe, out)` are the words
    that train the recipe in the file `recipe` in the new run `out`, in a process of its own, whose memory is what the
    system says of it.
    """
    recipe = load_recipe(name, list(overrides))
    where = None if recipe.data.is_made else data_path
    usual = Patience()
    patience = replace(usual, seconds=min(usual.seconds, seconds))
    rough = plan_training(_shortened(recipe, LEAST_ITERATIONS), data_path=where, patience=patience)
    iterations = max(LEAST_ITERATIONS, round(seconds / _step(rough)))
    short = _shortened(recipe, iterations)
    planned = plan_training(short, data_path=where, patience=patience)
    with tempfile.TemporaryDirectory(prefix="acu-bench-") as directory:
        file, out = Path(directory) / "recipe.toml", Path(directory) / "run"
        file.write_text(recipe_toml(short))
        total, memory = _run(command(file, out))
        happened = _happened(out, total, memory)
    return PlanAndTruth(name, iterations, _planned(planned), happened)


def _shortened(recipe: Recipe, iterations: int) -> Recipe:
    warm_up = iterations // 2 if recipe.schedule.warm_up else 0
    schedule = {"warm_up": warm_up, "divisions": [], "evaluate_every": 0, "checkpoint_every": iterations}
    # What would be kept may lie beyond its end.
    return recipe.changed(schedule={"iterations": iterations, "keep": [], **schedule}, round_and_finetune=None)


def _step(plan: Plan) -> float:
    return plan.training_seconds / plan.work.iterations


def _planned(plan: Plan) -> Figures:
    return Figures(_step(plan), plan.pace.evaluation, plan.seconds, plan.peak_memory, plan.disk.total)


def _run(words: Sequence[str]) -> tuple[float, int]:
    """Seconds, and bytes of memory at most, of a command. Raises RuntimeError where it fails."""
    began = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the training failed: {said.decode(errors='replace').strip()[-400:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.monotonic() - began, usage.ru_maxrss * unit


def _happened(run: Path, total: float, memory: int) -> Figures:
    runs = [path for path in (run, run / FROZEN) if path.exists()]
    last = [read_timings(path / "timings.jsonl")[-1] for path in runs]
    paces = [1 / timing.iterations_per_second for timing in last if timing.iterations_per_second]
    return Figures(
        sum(paces) / len(paces),
        sum(timing.evaluation_seconds for timing in last) / len(last),
        total,
        memory,
        sum(file.stat().st_size for file in run.rglob("*") if file.is_file()),
    )
