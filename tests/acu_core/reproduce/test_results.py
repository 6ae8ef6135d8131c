"""The arithmetic of a table, on made-up evaluations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from acu_core.errors import UserError
from acu_core.forecast.pace import Pace
from acu_core.forecast.work import Work
from acu_core.reproduce.estimate import Estimate, estimate_runs
from acu_core.reproduce.plan import PlannedRun, RunState, plan_runs
from acu_core.reproduce.result_text import as_json, cells, columns, conditions, markdown, remarks
from acu_core.reproduce.results import TableResult, table_result
from acu_core.reproduce.tables import TABLES
from acu_core.runs.metrics import EvaluationRecord
from acu_core.runs.timings import TimingRecord

OUT = Path("out")


def record(test_errors: int, test_images: int, test_top5_errors: int | None = None) -> EvaluationRecord:
    return EvaluationRecord(1, 1.0, 1 - test_errors / test_images, test_errors, test_images, test_top5_errors)


def evaluated(**figures: int) -> RunState:
    return RunState(True, iteration=1, evaluation=record(**figures), environment={"device": "cpu", "threads": 2})


def result_of(name: str, states: dict[str, list[RunState]], scale: float = 1.0) -> TableResult:
    seeds = len(next(iter(states.values())))
    runs = plan_runs(TABLES[name], seeds=seeds, scale=scale, out=OUT, device=None)
    by_path = {run.path: states.get(run.row.recipe, [RunState(False)] * seeds)[run.seed] for run in runs}
    return table_result(TABLES[name], runs, by_path, {}, scale=scale, seeds=seeds, made_by="acu reproduce")


def test_error_in_percent_over_seeds() -> None:
    base = [evaluated(test_errors=errors, test_images=10_000) for errors in (800, 820)]
    acu = [evaluated(test_errors=742, test_images=10_000), RunState(True, 300)]
    result = result_of("cifar10", {"cifar10-plain-base": base, "cifar10-plain-acu": acu})
    rows = {row.row.name: row for row in result.rows}
    assert rows["Plain, Base"].mean == pytest.approx(8.10)
    assert rows["Plain, Base"].spread == pytest.approx(0.2 / math.sqrt(2))
    assert rows["Plain, ACU"].mean == pytest.approx(7.42)
    assert rows["Plain, ACU"].spread is None, "one run has no spread"
    assert rows["Plain, ACU"].improvement == pytest.approx(8.00 - 7.42), "over the seeds that both have"
    assert rows["Residual, ACU"].improvement is None
    assert (result.done, result.runs) == (3, 8)
    assert remarks(result) == ["Unfinished: 3 of 8 runs are done."]
    assert cells(result)[1] == ["Plain, ACU", "7.33", "7.42", "-", "1 of 2", "+0.68", "+0.58", "-"]
    assert cells(result)[0] == ["Plain, Base", "8.01", "8.10", "0.14", "2", "-", "-", "-"]
    assert len(columns(result)) == 8
    states = [run["state"] for run in as_json(result, OUT)["rows"][1]["runs"]]
    assert states == ["done", "begun"]


def test_top5_accuracy_in_percent() -> None:
    result = result_of(
        "places365",
        {
            "places365-alexnet-base": [evaluated(test_errors=5, test_top5_errors=20, test_images=100)],
            "places365-alexnet-acu": [evaluated(test_errors=9, test_top5_errors=17, test_images=100)],
        },
    )
    assert result.measure == "top-5 accuracy %"
    assert [row.mean for row in result.rows[:2]] == [80.0, 83.0]
    assert result.rows[1].improvement == pytest.approx(3.0), "more accuracy is better"
    assert cells(result)[1] == ["AlexNet, ACU", "82.08", "83.00", "-", "1", "+0.79", "+3.00", "-"]


def test_a_table_that_the_paper_does_not_have() -> None:
    def over_seeds(*errors: int) -> list[RunState]:
        return [evaluated(test_errors=each, test_images=10_000) for each in errors]

    base = over_seeds(3000, 3100, 3050)
    result = result_of(
        "small",
        {
            "cifar10-small-base": base,
            "cifar10-small-acu": over_seeds(2900, 2990, 2940),
            "cifar10-small-acu-random": over_seeds(3000, 3000, 3200),
        },
    )
    assert columns(result) == ["row", "test error %", "spread", "n", "improvement", "95 % interval"]
    texts = {row[0]: row[1:] for row in cells(result)}
    assert texts["Base"] == ["30.50", "0.50", "3", "-", "-"]
    # Improvements of 1.0, 1.1, 1.1: mean 1.0667, deviation 0.0577, t of 2 degrees 4.303.
    assert texts["ACU"] == ["29.43", "0.45", "3", "+1.07", "+0.92 to +1.21"]
    assert texts["ACU, random shapes, frozen"][-2:] == ["-0.17", "-3.29 to +2.96"]
    assert texts["ACU-Round"] == ["-", "-", "0 of 3", "-", "-"]
    values = {row["row"]: row for row in as_json(result, OUT)["rows"]}
    assert values["ACU"]["base"] == "cifar10-small-base"
    assert values["ACU"]["paper"] is None
    assert values["ACU"]["interval"] == pytest.approx([0.9233, 1.2101], abs=1e-4)
    assert values["Base"]["interval"] is None
    assert "| ACU | 29.43 | 0.45 | 3 | +1.07 | +0.92 to +1.21 |" in markdown(result, OUT)


def test_seeds_that_are_not_shared_are_not_compared() -> None:
    base = [evaluated(test_errors=3000, test_images=10_000), RunState(True, 5)]
    acu = [RunState(True, 5), evaluated(test_errors=2900, test_images=10_000)]
    result = result_of("small", {"cifar10-small-base": base, "cifar10-small-acu": acu})
    texts = {row[0]: row[1:] for row in cells(result)}
    assert texts["ACU"] == ["29.00", "-", "1 of 2", "-", "-"]


def test_a_log_without_the_figure_is_named() -> None:
    with pytest.raises(UserError, match="test_top5_errors"):
        result_of("places365", {"places365-alexnet-base": [evaluated(test_errors=5, test_images=100)]})


def test_a_worse_row_has_a_negative_improvement_and_nothing_is_minus_zero() -> None:
    result = result_of(
        "ablation",
        {
            "cifar10-plain-base": [evaluated(test_errors=80_000, test_images=1_000_000)],
            "cifar10-plain-base-d2": [evaluated(test_errors=80_200, test_images=1_000_000)],
            "cifar10-plain-acu-c23": [evaluated(test_errors=80_001, test_images=1_000_000)],
        },
    )
    texts = {row[0]: row[-2] for row in cells(result)}
    assert texts["Base-D2"] == "-0.02"
    assert texts["ACU-C23"] == "+0.00"


def test_conditions_are_grouped_and_named() -> None:
    other: dict[str, Any] = {"device": "cuda:0", "device_name": "A GPU", "threads": 8, "versions": {"torch": "3"}}
    states = [
        evaluated(test_errors=1, test_images=10),
        RunState(True, 1, record(2, 10), other),
    ]
    result = result_of("cifar10", {"cifar10-plain-base": states})
    assert [[str(path) for path in paths] for _, paths in result.conditions] == [
        ["out/cifar10-plain-base-seed0"],
        ["out/cifar10-plain-base-seed1"],
    ]
    assert "A GPU (cuda:0)" in conditions(other)
    assert "torch 3" in conditions(other)
    page = markdown(result, OUT)
    assert "8 threads" in page
    assert ": cifar10-plain-base-seed1" in page


def lasting(*sessions: int, seconds: tuple[float, ...]) -> float | None:
    """The time that a run's lines come to, each of a session, an evaluation taking 1 s."""
    lines = (TimingRecord(1, session, start, None, 1.0) for session, start in zip(sessions, seconds, strict=True))
    state = RunState(True, 1, timings=tuple(lines))
    return result_of("cifar10", {"cifar10-plain-base": [state]}).rows[0].runs[0].seconds


def test_a_runs_time_is_that_of_all_its_sessions() -> None:
    assert lasting(0, 0, seconds=(10, 100)) == 101
    assert lasting(0, 500, seconds=(10, 100)) == 11 + 101
    assert lasting(500, 500, seconds=(0, 0)) == 1 + 1, "stopped and resumed at the same iteration"


def test_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measured(recipe: Any, work: Work) -> Pace:
        asked.append(recipe.name)
        return Pace(0.25 if work.still else None, 0.5 if work.moving else None, 10.0, 0.0)

    monkeypatch.setattr("acu_core.reproduce.estimate.measure_quickly", measured)
    runs = plan_runs(TABLES["ablation"], seeds=2, scale=0.01, out=OUT, device=None)

    def state(run: PlannedRun) -> RunState:
        if run.row.name == "Base":
            return evaluated(test_errors=1, test_images=10)
        if run.row.name == "Base-F5" and run.seed == 0:
            timings = (TimingRecord(600, 0, 150.0, 4.0, 20.0), TimingRecord(600, 600, 0.0, None, 20.0))
            return RunState(True, 600, None, None, timings)
        return RunState(False)

    estimates = estimate_runs(runs, {run.path: state(run) for run in runs})
    assert estimates[OUT / "cifar10-plain-base-seed0"] == Estimate(0.0, None)
    # 640 iterations, evaluated after 500 and at the end.
    assert estimates[OUT / "cifar10-plain-acu-seed1"].seconds == 100 * 0.25 + 540 * 0.5 + 2 * 10
    pace = estimates[OUT / "cifar10-plain-acu-seed1"].pace
    assert pace is not None
    assert pace.iteration == pytest.approx((100 * 0.25 + 540 * 0.5) / 640)
    # Fine-tuned with frozen positions.
    assert estimates[OUT / "cifar10-plain-acu-round-seed0"].seconds == 200 * 0.25 + 1 * 10
    # The seed that has begun lends its pace to the other.
    assert estimates[OUT / "cifar10-plain-base-f5-seed0"].seconds == 40 / 4 + 20
    assert estimates[OUT / "cifar10-plain-base-f5-seed1"].seconds == 640 / 4 + 2 * 20
    # Each network once: ACU-Round is that of ACU-all.
    assert len(asked) == 4
