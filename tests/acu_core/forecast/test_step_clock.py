from __future__ import annotations

import pytest
import torch

from acu_core.forecast import step_clock
from acu_core.forecast.step_clock import Patience, StepClock

CPU = torch.device("cpu")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still unless somebody sets it."""
    times = [0.0]
    monkeypatch.setattr(step_clock.time, "perf_counter", lambda: times[0])
    return times


def test_the_median_of_what_comes_after_the_first_pieces(now: list[float]) -> None:
    clock = StepClock(Patience(seconds=100, least=2, most=3, skipped=2), CPU)
    ends = []
    # The first two are slow and do not count; one is disturbed.
    for done, seconds in enumerate([0.0, 50.0, 50.0, 1.0, 30.0, 1.0]):
        now[0] += seconds
        ends.append(clock.enough(done))
    assert ends == [False] * 5 + [True]
    assert clock.figures == 3
    assert clock.seconds == 1.0
    assert clock.last == 132.0
    # Two pieces of 50 seconds, in the place of two of 1.
    assert clock.beginning == 98.0


def test_it_ends_when_the_time_is_over_but_not_before_the_least(now: list[float]) -> None:
    clock = StepClock(Patience(seconds=1, least=2, most=100, skipped=0), CPU)
    assert not clock.enough(0)
    now[0] = 5.0
    assert not clock.enough(1), "one figure is too few"
    now[0] = 10.0
    assert clock.enough(2)


def test_several_pieces_between_two_questions_share_the_time(now: list[float]) -> None:
    clock = StepClock(Patience(seconds=100, least=1, most=2, skipped=0), CPU)
    for done, time in ((0, 0.0), (0, 7.0), (4, 8.0), (8, 16.0)):
        now[0] = time
        clock.enough(done)
    # Asked twice at 0: the first time counts.
    assert clock.figures == 2
    assert clock.seconds == 2.0


def test_batches_that_were_prepared_ahead_do_not_count(now: list[float]) -> None:
    clock = StepClock(Patience(seconds=0, least=1, most=1, skipped=1), CPU, ahead=2)
    ends = [clock.enough(done) for done in range(5)]
    assert ends == [False, False, False, False, True]


def test_what_comes_up_now_and_then_is_in_the_time(now: list[float]) -> None:
    clock = StepClock(Patience(seconds=1e9, least=1, most=1000, skipped=0), CPU)
    # Every tenth piece takes eleven times as long.
    for done in range(901):
        clock.enough(done)
        now[0] += 11.0 if done % 10 == 0 else 1.0
    assert clock.seconds == pytest.approx(2.0)
