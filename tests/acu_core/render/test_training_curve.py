from __future__ import annotations

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


def test_an_empty_log_is_an_empty_curve() -> None:
    curve = TrainingCurve.of(Metrics((), ()))
    assert not curve.iterations.size
    assert not curve.errors.size
    assert not curve.drops.size
