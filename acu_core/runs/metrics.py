"""`metrics.jsonl`: what the arithmetic of a training decides, a record of every iteration and of every evaluation.

    {"iteration": 1, "loss": 2.5, "accuracy": 0.1, "learning_rate": 0.1, "position_learning_rate": 0.0, "crc32": ...}
    {"iteration": 500, "test_loss": 1.5, "test_accuracy": 0.4, "test_errors": 6000, "test_images": 10000, "crc32": ...}

Iterations of training records are consecutive. They begin with 1, or after an iteration that was imported. An
evaluation comes after the training record of its iteration. `loss` and `accuracy` are those of the training batch;
`test_top5_errors` is there where somebody asks for it. Where images are held out of the training set, an evaluation has
`validation_loss`, `validation_errors` and `validation_images`; where an average of the weights is kept, the same of it
as `average_test_loss`, `average_test_errors` and so on. Times are not here: two equal trainings write equal files.
`json_lines` says what a line is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.runs.json_lines import damaged_line, read_log
from acu_core.runs.record import WrongRecordError, check_keys, number, whole_number

_TRAINING = frozenset({"iteration", "loss", "accuracy", "learning_rate", "position_learning_rate"})
_EVALUATION = frozenset({"iteration", "test_loss", "test_accuracy", "test_errors", "test_images"})
# Each together, or not at all.
_AVERAGE = frozenset({"average_test_loss", "average_test_errors"})
_VALIDATION = frozenset({"validation_loss", "validation_errors", "validation_images"})
_AVERAGE_VALIDATION = frozenset({"average_validation_loss", "average_validation_errors"})
_LOSSES = ("average_test_loss", "validation_loss", "average_validation_loss")
_COUNTS = (
    "test_top5_errors",
    "average_test_errors",
    "average_test_top5_errors",
    "validation_errors",
    "validation_images",
    "average_validation_errors",
)
_AT_MOST = (
    ("test_top5_errors", "test_errors"),
    ("average_test_errors", "test_images"),
    ("average_test_top5_errors", "average_test_errors"),
    ("validation_errors", "validation_images"),
    ("average_validation_errors", "validation_images"),
)


@dataclass(frozen=True)
class TrainingRecord:
    """One iteration: mean loss and accuracy (0 to 1) of its batch, and the learning rates of its step."""

    iteration: int
    loss: float
    accuracy: float
    learning_rate: float
    position_learning_rate: float

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> TrainingRecord:
        """The record of a line. Raises WrongRecordError."""
        check_keys(entry, _TRAINING)
        return cls(
            whole_number(entry, "iteration", 1),
            number(entry, "loss"),
            number(entry, "accuracy", 1.0),
            number(entry, "learning_rate"),
            number(entry, "position_learning_rate"),
        )

    def entry(self) -> dict[str, int | float]:
        """The values of its line."""
        return {
            "iteration": self.iteration,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "learning_rate": self.learning_rate,
            "position_learning_rate": self.position_learning_rate,
        }


@dataclass(frozen=True)
class EvaluationRecord:
    """An evaluation on all test images after an iteration; accuracy is 0 to 1, loss the mean cross-entropy."""

    iteration: int
    test_loss: float
    test_accuracy: float
    test_errors: int
    test_images: int
    test_top5_errors: int | None = None
    average_test_loss: float | None = None
    """Of the averaged weights, on the same images."""
    average_test_errors: int | None = None
    average_test_top5_errors: int | None = None
    validation_loss: float | None = None
    """On the images held out of the training set."""
    validation_errors: int | None = None
    validation_images: int | None = None
    average_validation_loss: float | None = None
    average_validation_errors: int | None = None

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> EvaluationRecord:
        """The record of a line. Raises WrongRecordError, also for figures that contradict each other."""
        check_keys(entry, _EVALUATION, frozenset({*_LOSSES, *_COUNTS}))
        for together in (_AVERAGE, _VALIDATION, _AVERAGE_VALIDATION):
            if together & entry.keys() and (missing := together - entry.keys()):
                raise WrongRecordError(f"it has no {', '.join(sorted(missing))}")
        record = cls(
            whole_number(entry, "iteration"),
            number(entry, "test_loss"),
            number(entry, "test_accuracy", 1.0),
            whole_number(entry, "test_errors"),
            whole_number(entry, "test_images", 1),
            **{name: number(entry, name) for name in _LOSSES if name in entry},  # type: ignore[arg-type]
            **{name: whole_number(entry, name) for name in _COUNTS if name in entry},
        )
        right = (record.test_images - record.test_errors) / record.test_images
        if not math.isclose(record.test_accuracy, right, rel_tol=1e-9, abs_tol=1e-12):
            raise WrongRecordError(
                f"{record.test_errors} errors among {record.test_images} images are no accuracy of "
                f"{record.test_accuracy}"
            )
        for fewer, most in _AT_MOST:
            few, many = getattr(record, fewer), getattr(record, most)
            if few is not None and (many is None or few > many):
                raise WrongRecordError(f"it has more {_words(fewer)} than {_words(most)}")
        return record

    def entry(self) -> dict[str, int | float]:
        """The values of its line."""
        values: dict[str, int | float] = {
            "iteration": self.iteration,
            "test_loss": self.test_loss,
            "test_accuracy": self.test_accuracy,
            "test_errors": self.test_errors,
            "test_images": self.test_images,
        }
        # Absent where nobody asks for them, so that the file keeps the bytes that it always had.
        further = {name: getattr(self, name) for name in (*_COUNTS[:1], *_LOSSES, *_COUNTS[1:])}
        return values | {name: value for name, value in further.items() if value is not None}


@dataclass(frozen=True)
class Metrics:
    """All records of a log, or of its beginning, in their order."""

    training: tuple[TrainingRecord, ...]
    evaluations: tuple[EvaluationRecord, ...]

    @property
    def iteration(self) -> int:
        """The last iteration of which there is a record; 0 where there is none."""
        last = [records[-1].iteration for records in (self.training, self.evaluations) if records]
        return max(last, default=0)


def read_metrics(path: str | os.PathLike[str], *, length: int | None = None, imported: Collection[int] = ()) -> Metrics:
    """The records of `metrics.jsonl`, or of its first `length` bytes.

    `imported` are the iterations after which a training may have begun here. Raises UserError that names the first line
    that is damaged, is no such record, or does not follow the one before it.
    """
    path = Path(path)
    training: list[TrainingRecord] = []
    evaluations: list[EvaluationRecord] = []
    begins = {0, *imported}
    for place, entry in enumerate(read_log(path, length), start=1):
        try:
            if "loss" in entry:
                step = TrainingRecord.from_entry(entry)
                before = step.iteration - 1
                if before != training[-1].iteration if training else before not in begins:
                    raise WrongRecordError(
                        f"it is of iteration {step.iteration}, the training record before it "
                        f"{f'of {training[-1].iteration}' if training else 'is missing'}"
                    )
                training.append(step)
            else:
                evaluation = EvaluationRecord.from_entry(entry)
                if evaluation.iteration != training[-1].iteration if training else evaluation.iteration not in begins:
                    raise WrongRecordError(
                        f"it evaluates iteration {evaluation.iteration}, whose training record is not before it"
                    )
                evaluations.append(evaluation)
        except WrongRecordError as error:
            raise damaged_line(path, place, str(error)) from error
    return Metrics(tuple(training), tuple(evaluations))


def _words(key: str) -> str:
    return {"test_top5_errors": "top-5 errors", "test_errors": "errors"}.get(key, key.replace("_", " "))
