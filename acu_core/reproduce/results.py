"""What the finished runs of a table come to, beside what the paper reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.errors import UserError
from acu_core.recipe.schema import Paper
from acu_core.report.difference import Difference
from acu_core.reproduce.plan import PlannedRun, RunState
from acu_core.reproduce.tables import Row, Table
from acu_core.runs.timings import TimingRecord
from acu_core.sample import Sample

TEST_ERROR = "test error %"


@dataclass(frozen=True)
class RunResult:
    """One run of a row: `value` in the table's measure once it is finished."""

    seed: int
    path: Path
    iteration: int
    iterations: int
    value: float | None = None
    errors: int | None = None
    """Top-1 errors, or top-5 errors where the measure is top-5 accuracy."""
    images: int | None = None
    seconds: float | None = None
    """Time of training and evaluation, as far as it was recorded: an interrupted run's is that up to evaluations."""
    problem: str | None = None

    @property
    def state(self) -> str:
        """Done, failed, begun or waiting."""
        if self.value is not None:
            return "done"
        if self.problem is not None:
            return "failed"
        return "begun" if self.iteration else "waiting"


@dataclass(frozen=True)
class RowResult:
    """A row: the paper's figures and ours over the seeds that are finished. `spread` is the sample deviation."""

    row: Row
    base: str | None
    """The recipe of the row that it is compared with."""
    paper: Paper | None
    """None in a table that the paper does not have."""
    runs: tuple[RunResult, ...]
    mean: float | None
    spread: float | None
    better: Difference | None
    """Points better than the base, over the seeds that both have finished."""

    @property
    def improvement(self) -> float | None:
        """Points better than the base."""
        return None if self.better is None else self.better.difference

    @property
    def n(self) -> int:
        """How many runs are finished."""
        return sum(run.value is not None for run in self.runs)


@dataclass(frozen=True)
class TableResult:
    """A whole table, finished or not, with what it was made by and the conditions of its runs."""

    table: Table
    measure: str
    scale: float
    seeds: int
    made_by: str
    rows: tuple[RowResult, ...]
    conditions: tuple[tuple[Mapping[str, Any], tuple[Path, ...]], ...]

    @property
    def runs(self) -> int:
        """How many runs the table needs."""
        return sum(len(row.runs) for row in self.rows)

    @property
    def done(self) -> int:
        """How many of them are finished."""
        return sum(row.n for row in self.rows)


def table_result(
    table: Table,
    runs: Sequence[PlannedRun],
    states: Mapping[Path, RunState],
    problems: Mapping[Path, str],
    *,
    scale: float,
    seeds: int,
    made_by: str,
) -> TableResult:
    """The table that `states` come to; `problems` says in a sentence what went wrong with a run."""
    rows: dict[str, RowResult] = {}
    measures = set()
    for row in table.rows:
        planned = sorted((run for run in runs if run.row == row), key=lambda run: run.seed)
        paper = planned[0].recipe.paper
        if paper is None and table.of_paper:
            raise UserError(f"the recipe {row.recipe} has no table [paper]")
        measure = paper.measure if paper is not None else TEST_ERROR
        measures.add(measure)
        results = tuple(_run_result(run, states[run.path], measure, problems.get(run.path)) for run in planned)
        sample = Sample.of(result.value for result in results if result.value is not None)
        base = paper.base if paper is not None else row.base
        better = _better(measure, rows[base], results) if base in rows else None
        rows[row.recipe] = RowResult(row, base, paper, results, sample.mean, sample.spread, better)
    (measure,) = measures
    return TableResult(table, measure, scale, seeds, made_by, tuple(rows.values()), _conditions(runs, states))


def _run_result(run: PlannedRun, state: RunState, measure: str, problem: str | None) -> RunResult:
    value = errors = images = None
    if state.evaluation is not None:
        top1 = measure == TEST_ERROR
        errors = state.evaluation.test_errors if top1 else state.evaluation.test_top5_errors
        images = state.evaluation.test_images
        if errors is None:
            raise UserError(f"{run.path / 'metrics.jsonl'} does not say test_top5_errors: train it again")
        value = 100 * (errors if top1 else images - errors) / images
    seconds = _seconds(state.timings)
    return RunResult(run.seed, run.path, state.iteration, run.iterations, value, errors, images, seconds, problem)


def _better(measure: str, base: RowResult, results: Sequence[RunResult]) -> Difference | None:
    first, second = ({run.seed: run.value for run in runs if run.value is not None} for runs in (base.runs, results))
    shared = first.keys() & second.keys()
    if not shared:
        # Other seeds would be another comparison than the one that the table names.
        return None
    return Difference.between(second, first) if measure == TEST_ERROR else Difference.between(first, second)


def _seconds(timings: Sequence[TimingRecord]) -> float | None:
    """The sum over sessions: each counts from its own start."""
    total, last, session = 0.0, 0.0, None
    for entry in timings:
        # A smaller number begins a new one too: a run that was stopped before it came further begins at the same
        # iteration again.
        if entry.seconds < last or entry.session != session:
            total += last
        last, session = entry.seconds + entry.evaluation_seconds, entry.session
    return total + last if timings else None


def _conditions(
    runs: Sequence[PlannedRun], states: Mapping[Path, RunState]
) -> tuple[tuple[Mapping[str, Any], tuple[Path, ...]], ...]:
    found: list[tuple[Mapping[str, Any], list[Path]]] = []
    for run in runs:
        environment = states[run.path].environment
        if environment is None:
            continue
        # Where the data lay is no condition; what it was is the same for the whole table.
        kept = {key: value for key, value in environment.items() if key != "data"}
        for known, paths in found:
            if known == kept:
                paths.append(run.path)
                break
        else:
            found.append((kept, [run.path]))
    return tuple((kept, tuple(paths)) for kept, paths in found)
