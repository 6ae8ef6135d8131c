"""How much of the disk a finished run takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace

from acu_core.forecast.pace import Sample
from acu_core.forecast.work import work_of
from acu_core.learn.schedule import learning_rate, position_learning_rate
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
    recipe: Recipe, sample: Sample, *, test_images: int, classes: int, hidden: list[list[list[float]]] | None
) -> Disk:
    """Of a run of `recipe`, a frozen twin not included; `hidden` are the positions that its data were made with.

    `positions.bin` is exact; the others are as good as numbers of as many digits.
    """
    facts = TrainingFacts(recipe.schedule.warm_up, hidden)
    header = SnapshotHeader(sample.layers, facts)
    iterations = recipe.schedule.iterations
    return Disk(
        checkpoints=sum(_kept(recipe, sample)),
        positions=len(header.encode()) + (iterations + 1) * header.record_type.itemsize,
        metrics=_metrics(recipe, sample, test_images, classes),
        timings=_timings(recipe),
        settled=sample.settled,
    )


def _kept(recipe: Recipe, sample: Sample) -> list[int]:
    work = work_of(recipe)
    trained = sample.moving_checkpoint if work.moving else sample.still_checkpoint
    assert trained is not None
    # The last one saved; the first of all is of iteration 0.
    return [trained if number else sample.first_checkpoint for number in range(work.checkpoints)][-KEPT:]


def _metrics(recipe: Recipe, sample: Sample, test_images: int, classes: int) -> int:
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
    evaluation = EvaluationRecord(
        iterations, 1 / 3, (test_images - errors) / test_images, errors, test_images, errors // 4 if top5 else None
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
