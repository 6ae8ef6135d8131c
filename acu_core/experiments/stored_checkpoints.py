"""Which checkpoints a run keeps, and what was evaluated at their iterations. Opens none of them; needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acu_core.runs.best_evaluation import best_evaluation
from acu_core.runs.checkpoints import list_checkpoints
from acu_core.runs.metrics import EvaluationRecord, Metrics, read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.run_recipe import run_recipe


@dataclass(frozen=True)
class StoredCheckpoint:
    """A file that is called as a checkpoint is; `evaluation` is None where its iteration was not evaluated."""

    iteration: int
    path: Path
    bytes: int
    evaluation: EvaluationRecord | None
    is_newest: bool
    is_best: bool
    """Whether it errs least on the validation images, of all that were evaluated."""
    is_kept: bool
    """Whether the recipe says that it is never deleted: by its iteration, or as the best."""


def stored_checkpoints(path: Path) -> list[StoredCheckpoint]:
    """The checkpoints of the run at `path`, the oldest first. Raises UserError for a run that is damaged."""
    run = RunDirectory.open(path)
    schedule = run_recipe(run).schedule
    imported = run.imported_iterations
    metrics = read_metrics(run.metrics, imported=imported) if run.metrics.exists() else Metrics((), ())
    evaluations = {record.iteration: record for record in metrics.evaluations}
    best = best_evaluation(metrics.evaluations)
    found = list_checkpoints(run)
    checkpoints = []
    for number, file in reversed(found):
        is_best = best is not None and best.iteration == number
        checkpoints.append(
            StoredCheckpoint(
                number,
                file,
                file.stat().st_size,
                evaluations.get(number),
                is_newest=number == found[0][0],
                is_best=is_best,
                is_kept=number in {*schedule.keep, *imported} or (is_best and schedule.keep_best),
            )
        )
    return checkpoints
