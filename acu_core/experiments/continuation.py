"""Begins a training or goes on with it, whichever is due: what a job that may be stopped starts each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.experiments.frozen_twin import FROZEN, frozen_recipe, resume, train
from acu_core.experiments.report import TrainingReport
from acu_core.learn.joined_processes import joined
from acu_core.recipe.schema import Recipe
from acu_core.runs.best_evaluation import best_evaluation
from acu_core.runs.metrics import EvaluationRecord, read_metrics
from acu_core.runs.run_directory import RunDirectory, RunExistsError
from acu_core.train.begin import refuse_start
from acu_core.train.events import Events
from acu_core.train.run_recipe import run_recipe
from acu_core.train.standing import Standing, final_evaluation, run_standing


@dataclass(frozen=True)
class FinishedRun:
    """A run that was finished before: its last evaluation, and its frozen twin's where it has one."""

    run: str
    recipe: str
    iteration: int
    evaluation: EvaluationRecord
    frozen: EvaluationRecord | None
    best_iteration: int | None = None
    """The one whose checkpoint is kept as the best; None where the recipe does not ask for it."""

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`, called as in a training's report."""
        return {
            "run": self.run,
            "recipe": self.recipe,
            "iteration": self.iteration,
            "iterations": self.iteration,
            "seconds": 0.0,
            "stopped_by": None,
            **_parts(self.evaluation),
            "best_iteration": self.best_iteration,
            "frozen": None if self.frozen is None else _parts(self.frozen)["evaluation"],
            "finished": True,
            "already_finished": True,
        }


def train_or_continue(
    recipe: Recipe,
    path: Path,
    *,
    data_path: Path | None = None,
    download: bool = False,
    events: Events | None = None,
) -> TrainingReport | FinishedRun:
    """Trains `recipe` in the run at `path`: from its beginning where there is none, else from its newest checkpoint.

    However often it is killed and started again, it ends with the bits of a training that was not. A finished run is
    reported, and nothing on disk changes. Raises UserError, and changes nothing, when a run of another recipe lies
    there, when another process trains it, and for whatever `train` and `resume` refuse.
    """
    refuse_start(recipe)
    with joined() as processes:
        # What one of several sees, all do: by the time another looked, the first might have begun the run.
        if processes.from_first(lambda: whole_standing(recipe, path)) is Standing.ABSENT:
            try:
                return train(recipe, path, data_path=data_path, download=download, events=events)
            except RunExistsError:
                # Another process has begun it in the meantime; what lies there is looked at anew.
                if processes.several:
                    raise
        if processes.from_first(lambda: whole_standing(recipe, path)) is Standing.FINISHED:
            return processes.from_first(lambda: _finished(recipe, path))
        recorded = processes.from_first(lambda: run_recipe(RunDirectory.open(path)).machine.device)
        device = recipe.machine.device if recipe.machine.device != recorded else None
        return resume(path, data_path=data_path, download=download, device=device, events=events)


def whole_standing(recipe: Recipe, path: Path) -> Standing:
    """How far the run at `path` is, its frozen twin included where the recipe asks for one. Reads only."""
    standing = run_standing(recipe, path)
    if standing is Standing.FINISHED and recipe.compare_frozen and _twin_evaluation(recipe, path) is None:
        return Standing.BEGUN
    return standing


def _twin_evaluation(recipe: Recipe, path: Path) -> EvaluationRecord | None:
    twin = path / FROZEN
    if not twin.exists():
        return None
    return final_evaluation(frozen_recipe(recipe), RunDirectory.open(twin))


def _finished(recipe: Recipe, path: Path) -> FinishedRun:
    run = RunDirectory.open(path)
    evaluation = final_evaluation(recipe, run)
    assert evaluation is not None
    frozen = _twin_evaluation(recipe, path) if recipe.compare_frozen else None
    best = None
    if recipe.schedule.keep_best:
        best = best_evaluation(read_metrics(run.metrics, imported=run.imported_iterations).evaluations)
    best_iteration = best.iteration if best is not None else None
    return FinishedRun(str(path), recipe.name, evaluation.iteration, evaluation, frozen, best_iteration)


def _parts(record: EvaluationRecord) -> dict[str, Any]:
    """The evaluations of a record, named as in a training's report; None for those that it has not."""
    test = record.test_images
    return {
        "evaluation": _figures(test, record.test_errors, record.test_top5_errors, record.test_loss),
        "averaged": _figures(
            test, record.average_test_errors, record.average_test_top5_errors, record.average_test_loss
        ),
        "validation": _figures(record.validation_images, record.validation_errors, None, record.validation_loss),
        "averaged_validation": _figures(
            record.validation_images, record.average_validation_errors, None, record.average_validation_loss
        ),
    }


def _figures(images: int | None, errors: int | None, top5: int | None, loss: float | None) -> dict[str, Any] | None:
    if images is None or errors is None:
        return None
    values: dict[str, Any] = {"images": images, "errors": errors}
    if top5 is not None:
        values |= {"top5_errors": top5, "top5_accuracy": (images - top5) / images}
    return {**values, "loss": loss, "accuracy": (images - errors) / images}
