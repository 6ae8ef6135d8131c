"""How much of the disk a finished run takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace

from acu_core.forecast.pace import Sample
from acu_core.forecast.work import work_of
from acu_core.learn.schedule import learning_rate, position_learning_rate, positions_move
from acu_core.recipe.schema import Recipe
from acu_core.runs.json_lines import CHECKSUM_BYTES
from acu_core.runs.metrics import EvaluationRecord
from acu_core.runs.snapshot_header import SnapshotHeader, TrainingFacts
from acu_core.runs.timings import TimingRecord

KEPT = 2
"""As many checkpoints as `save_checkpoint` keeps."""
_SAMPLES = 250


@dataclass(frozen=True)
class Disk:
    """Bytes: of the checkpoints that are kept, of `positions.bin`, of both logs, of what is written once."""

    checkpoints: int
    positions: int
    metrics: int
    timings: int
    settled: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())

    def __add__(self, other: Disk) -> Disk:
        return Disk(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def disk_of(
    recipe: Recipe,
    sample: Sample,
    *,
    test_images: int,
    classes: int,
    hidden: list[list[list[float]]] | None,
    validation_images: int = 0,
) -> Disk:
    """Of a run of `recipe`, a frozen twin not included; `hidden` are the positions that its data were made with.

    `positions.bin` is exact; the others are as good as numbers of as many digits.
    """
    facts = TrainingFacts(recipe.schedule.warm_up, hidden)
    header = SnapshotHeader(sample.layers, facts)
    iterations = recipe.schedule.iterations
    return Disk(
        checkpoints=sum(_checkpoint(recipe, sample, iteration) for iteration in kept(recipe)),
        positions=len(header.encode()) + (iterations + 1) * header.record_type.itemsize,
        metrics=_metrics(recipe, sample, test_images, classes, validation_images),
        timings=_timings(recipe),
        settled=sample.settled,
    )


def kept(recipe: Recipe) -> set[int]:
    """The iterations whose checkpoints are there in the end; which one is the best is guessed, the last but one.

    The last one is saved before it is evaluated, so that it cannot be the best when the others are deleted.
    """
    last, schedule = recipe.schedule.iterations, recipe.schedule
    often = {0, last, *range(schedule.checkpoint_every, last, schedule.checkpoint_every)}
    evaluated = set(range(schedule.evaluate_every, last, schedule.evaluate_every)) if schedule.evaluate_every else set()
    never_deleted = set(schedule.keep)
    best = max(evaluated - never_deleted, default=None) if schedule.keep_best else None
    if best is not None:
        never_deleted.add(best)
    return never_deleted | set(sorted((often | evaluated) - never_deleted)[-KEPT:])


def _checkpoint(recipe: Recipe, sample: Sample, iteration: int) -> int:
    moving = recipe.network.unit == "acu" and positions_move(recipe, iteration)
    size = sample.moving_checkpoint if moving else sample.still_checkpoint
    if iteration == 0:
        size = sample.first_checkpoint
    assert size is not None
    return size


def _metrics(recipe: Recipe, sample: Sample, test_images: int, classes: int, validation_images: int) -> int:
    iterations, records = recipe.schedule.iterations, sample.records
    every = max(1, iterations // _SAMPLES)
    lengths = []
    for number, iteration in enumerate(range(1, iterations + 1, every)):
        record = replace(
            records[number % len(records)],
            iteration=iteration,
            learning_rate=learning_rate(recipe, iteration),
            position_learning_rate=position_learning_rate(recipe, iteration),
        )
        lengths.append(_line(record.entry()))
    top5 = classes > 10 or (recipe.paper is not None and recipe.paper.measure == "top-5 accuracy %")
    errors = test_images // 9
    held_out_errors = validation_images // 9
    averaged, held_out = recipe.average is not None, validation_images > 0
    both = averaged and held_out
    evaluation = EvaluationRecord(
        iteration=iterations,
        test_loss=1 / 3,
        test_accuracy=(test_images - errors) / test_images,
        test_errors=errors,
        test_images=test_images,
        test_top5_errors=errors // 4 if top5 else None,
        average_test_loss=1 / 3 if averaged else None,
        average_test_errors=errors if averaged else None,
        average_test_top5_errors=errors // 4 if averaged and top5 else None,
        validation_loss=1 / 3 if held_out else None,
        validation_errors=held_out_errors if held_out else None,
        validation_images=validation_images if held_out else None,
        average_validation_loss=1 / 3 if both else None,
        average_validation_errors=held_out_errors if both else None,
    )
    return round(iterations * _mean(lengths)) + work_of(recipe).evaluations * _line(evaluation.entry())


def _timings(recipe: Recipe) -> int:
    record = TimingRecord(recipe.schedule.iterations, 0, 1000.123, 10.123, 1.123)
    return work_of(recipe).evaluations * _line(record.entry())


def _line(entry: Mapping[str, object]) -> int:
    """Bytes of an entry's line: the checksum takes the place of its closing bracket, and a line feed ends it."""
    return len(json.dumps(dict(entry), allow_nan=False).encode()) + CHECKSUM_BYTES


def _mean(values: Iterable[int]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
