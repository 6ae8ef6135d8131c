from __future__ import annotations

import numpy as np

from acu_core.report.training_loss import TrainingLoss
from acu_core.runs.metrics import TrainingRecord


def records(count: int) -> list[TrainingRecord]:
    return [TrainingRecord(step, float(step % 7), 0.5, 0.1, 0.001) for step in range(1, count + 1)]


def test_few_iterations_are_each_a_point() -> None:
    loss = TrainingLoss.of(records(5), 0, 5)
    assert loss is not None
    assert loss.per == 1
    assert loss.last.tolist() == [1, 2, 3, 4, 5]
    assert loss.mean.tolist() == loss.low.tolist() == loss.high.tolist() == [1, 2, 3, 4, 5]


def test_many_iterations_are_means_over_equally_many() -> None:
    loss = TrainingLoss.of(records(64_001), 0, 64_001)
    assert loss is not None
    assert loss.per == 161
    assert len(loss.last) <= 400
    assert loss.last[0] == 161
    assert loss.last[-1] == 64_001
    whole = np.array([float(step % 7) for step in range(1, 64_002)])
    np.testing.assert_allclose(loss.mean[0], whole[:161].mean())
    np.testing.assert_allclose(loss.mean[-1], whole[161 * (len(loss.last) - 1) :].mean())
    assert (loss.low <= loss.mean).all()
    assert (loss.mean <= loss.high).all()


def test_only_what_is_shown_counts() -> None:
    loss = TrainingLoss.of(records(100), 40, 60)
    assert loss is not None
    assert loss.last.tolist() == list(range(40, 61))
    assert TrainingLoss.of(records(100), 101, 200) is None
    assert TrainingLoss.of([], 0, 10) is None
