"""The records of `metrics.jsonl` and `timings.jsonl`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acu_core.errors import UserError
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.metrics import EvaluationRecord, TrainingRecord, read_metrics
from acu_core.runs.timings import TimingRecord, read_timings

STEP = TrainingRecord(1, 2.5, 0.25, 0.1, 0.0)
EVALUATION = EvaluationRecord(2, 1.5, 0.8, 2, 10)
TIMING = TimingRecord(2, 0, 1.5, None, 0.25)


def write(path: Path, entries: list[dict[str, Any]]) -> Path:
    with LogWriter(path, replace=True) as log:
        for entry in entries:
            log.append(entry)
    return path


def steps(*iterations: int) -> list[dict[str, Any]]:
    return [replace(STEP, iteration=iteration).entry() for iteration in iterations]


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    top5 = replace(EVALUATION, iteration=3, test_top5_errors=1)
    path = write(tmp_path / "metrics", [*steps(1, 2), EVALUATION.entry(), *steps(3), top5.entry()])
    found = read_metrics(path)
    assert [record.iteration for record in found.training] == [1, 2, 3]
    assert found.training[0] == STEP
    assert found.evaluations == (EVALUATION, top5)
    assert found.iteration == 3
    length = sum(map(len, path.read_bytes().splitlines(keepends=True)[:2]))
    assert read_metrics(path, length=length).iteration == 2
    assert read_timings(write(tmp_path / "timings", [TIMING.entry()])) == (TIMING,)
    assert read_metrics(write(path, [])).iteration == 0


FURTHER = replace(
    EVALUATION,
    average_test_loss=1.25,
    average_test_errors=3,
    average_test_top5_errors=1,
    validation_loss=1.75,
    validation_errors=4,
    validation_images=5,
    average_validation_loss=1.5,
    average_validation_errors=5,
)


def test_averages_and_validation_are_there_where_they_were_evaluated(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics", [*steps(1, 2), FURTHER.entry()])
    assert read_metrics(path).evaluations == (FURTHER,)
    assert EVALUATION.entry().keys() == {"iteration", "test_loss", "test_accuracy", "test_errors", "test_images"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"average_test_errors": 11}, "more average test errors than test images"),
        ({"average_test_top5_errors": 4}, "more average test top5 errors than average test errors"),
        ({"validation_errors": 6}, "more validation errors than validation images"),
        ({"average_validation_errors": 6}, "more average validation errors than validation images"),
        ({"validation_images": None}, "it has no validation_images"),
        ({"average_test_loss": None}, "it has no average_test_loss"),
        ({"average_validation_errors": None}, "it has no average_validation_errors"),
        ({"validation_loss": -1.0}, "validation_loss must be a number from 0"),
    ],
)
def test_further_figures_that_contradict_each_other(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    entry = {key: value for key, value in {**FURTHER.entry(), **change}.items() if value is not None}
    with pytest.raises(UserError, match=f"line 3 of .*{problem}"):
        read_metrics(write(tmp_path / "metrics", [*steps(1, 2), entry]))


def test_a_training_goes_on_after_an_imported_iteration(tmp_path: Path) -> None:
    evaluation = replace(EVALUATION, iteration=9000).entry()
    path = write(tmp_path / "metrics", [evaluation, *steps(9001, 9002)])
    assert read_metrics(path, imported=[8000, 9000]).iteration == 9002
    with pytest.raises(UserError, match="line 1 of"):
        read_metrics(path)


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        (steps(2), 1),
        (steps(1, 2, 4), 3),
        (steps(1, 2, 2), 3),
        ([*steps(1), EVALUATION.entry()], 2),
        ([*steps(1, 2, 3), EVALUATION.entry()], 4),
        ([{**STEP.entry(), "loss": -1.0}], 1),
        ([{**STEP.entry(), "loss": "2.5"}], 1),
        ([{**STEP.entry(), "loss": True}], 1),
        ([{**STEP.entry(), "accuracy": 1.5}], 1),
        ([{**STEP.entry(), "iteration": 1.0}], 1),
        ([{**STEP.entry(), "mood": 1}], 1),
        ([{"iteration": 1, "loss": 1.0}], 1),
        ([{"iteration": 1}], 1),
        ([*steps(1, 2), {**EVALUATION.entry(), "test_errors": 3}], 3),
        ([*steps(1, 2), {**EVALUATION.entry(), "test_images": 0}], 3),
        ([*steps(1, 2), {**EVALUATION.entry(), "test_top5_errors": 3}], 3),
    ],
)
def test_what_is_no_record_or_does_not_follow_is_named(
    tmp_path: Path, entries: list[dict[str, Any]], line: int
) -> None:
    path = write(tmp_path / "metrics", entries)
    with pytest.raises(UserError, match=f"line {line} of .*metrics is damaged"):
        read_metrics(path)
    # Without checksums too.
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    with pytest.raises(UserError, match=f"line {line} of .*metrics is damaged"):
        read_metrics(path)


@pytest.mark.parametrize(
    "change", [{"seconds": -1}, {"session": None}, {"iterations_per_second": "fast"}, {"evaluation_seconds": None}]
)
def test_what_is_no_timing_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "timings", [TIMING.entry(), {**TIMING.entry(), **change}])
    with pytest.raises(UserError, match=r"line 2 of .*timings is damaged"):
        read_timings(path)
