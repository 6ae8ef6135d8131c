"""What of an evaluated moment is recorded."""

from __future__ import annotations

from acu_core.learn.evaluated_moment import EvaluatedMoment
from acu_core.runs.metrics import EvaluationRecord


def evaluation_record(iteration: int, found: EvaluatedMoment, *, top5: bool) -> EvaluationRecord:
    """The record of a moment; its top-5 errors only where somebody asks for them."""
    test, average = found.test, found.average_test
    validation, average_validation = found.validation, found.average_validation
    return EvaluationRecord(
        iteration=iteration,
        test_loss=test.loss,
        test_accuracy=test.accuracy,
        test_errors=test.errors,
        test_images=test.images,
        test_top5_errors=test.top5_errors if top5 else None,
        average_test_loss=average.loss if average is not None else None,
        average_test_errors=average.errors if average is not None else None,
        average_test_top5_errors=average.top5_errors if average is not None and top5 else None,
        validation_loss=validation.loss if validation is not None else None,
        validation_errors=validation.errors if validation is not None else None,
        validation_images=validation.images if validation is not None else None,
        average_validation_loss=average_validation.loss if average_validation is not None else None,
        average_validation_errors=average_validation.errors if average_validation is not None else None,
    )
