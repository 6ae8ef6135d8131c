from __future__ import annotations

import pytest

from acu_core.recipe.schedules.cosine import CosineSchedule
from acu_core.render.training_curve import TrainingCurve
from acu_core.runs.metrics import EvaluationRecord, Metrics, TrainingRecord


def training(rates: list[float]) -> tuple[TrainingRecord, ...]:
    return tuple(TrainingRecord(i, 1.0, 0.5, rate, 0.0) for i, rate in enumerate(rates, start=1))


def test_errors_are_in_percent_and_only_sudden_falls_are_drops() -> None:
    metrics = Metrics(
        training([0.1, 0.1, 0.01, 0.01, 0.009, 0.0085, 0.1, 0.05]),
        (EvaluationRecord(4, 1.0, 0.75, 25, 100), EvaluationRecord(8, 1.0, 0.9, 10, 100)),
    )
    curve = TrainingCurve.of(metrics)
    assert curve.iterations.tolist() == [4, 8]
    assert curve.errors.tolist() == [25.0, 10.0]
    assert curve.drops.tolist() == [3, 8]


def cosine(iterations: int, linear_start: int, final_factor: float) -> list[float]:
    table = CosineSchedule(iterations=iterations, linear_start=linear_start, final_factor=final_factor)
    return [table.rate(0.1, iteration) for iteration in range(1, iterations + 1)]


@pytest.mark.parametrize("iterations", [4, 12, 100, 3000])
@pytest.mark.parametrize("final_factor", [0.0, 0.05])
def test_a_cosine_has_no_drops_however_steep_its_end(iterations: int, final_factor: float) -> None:
    rates = cosine(iterations, 0, final_factor)
    assert not TrainingCurve.of(Metrics(training(rates), ())).drops.size
    started = cosine(iterations, 3, final_factor)
    assert not TrainingCurve.of(Metrics(training(started), ())).drops.size
    # The first rates of a training in steps, the drop right at its beginning or end: those are some.
    assert TrainingCurve.of(Metrics(training([0.1, 0.01, 0.001, 0.001]), ())).drops.tolist() == [2, 3]
    assert TrainingCurve.of(Metrics(training([0.1, 0.1, 0.01]), ())).drops.tolist() == [3]


def test_an_empty_log_is_an_empty_curve() -> None:
    curve = TrainingCurve.of(Metrics((), ()))
    assert not curve.iterations.size
    assert not curve.errors.size
    assert not curve.drops.size
