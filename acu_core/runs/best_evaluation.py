"""Which of a run's evaluations is the best, by the images held out for validation and never by the test images."""

from __future__ import annotations

from collections.abc import Iterable

from acu_core.errors import UserError
from acu_core.runs.metrics import EvaluationRecord, Metrics
from acu_core.runs.run_directory import RunDirectory


def best_evaluation(evaluations: Iterable[EvaluationRecord]) -> EvaluationRecord | None:
    """The one with the fewest validation errors, the earliest of several; None where nothing was held out.

    Where averaged weights are evaluated beside the network, their errors decide: they are what is kept to be used.
    """
    best = None
    for record in evaluations:
        errors = deciding_errors(record)
        if errors is not None and (best is None or errors < best[0]):
            best = errors, record
    return best[1] if best is not None else None


def deciding_errors(record: EvaluationRecord) -> int | None:
    """The validation errors of an evaluation that are compared; None where nothing was held out."""
    averaged = record.average_validation_errors
    return averaged if averaged is not None else record.validation_errors


def best_iteration(run: RunDirectory, metrics: Metrics) -> int:
    """The iteration of the best evaluation of a run. Raises UserError where none was made on validation images."""
    best = best_evaluation(metrics.evaluations)
    if best is None:
        raise UserError(
            f"{run.path} has no best checkpoint: it was not evaluated on images held out for validation, which a "
            "recipe asks for by data.validation_images"
        )
    return best.iteration
