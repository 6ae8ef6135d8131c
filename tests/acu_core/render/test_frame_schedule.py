from __future__ import annotations

import numpy as np
import pytest

from acu_core.render.frame_schedule import FEWEST_FRAMES, MOST_FRAMES, at_moments, choose_frame_count, plan_frames


def path(steps: np.ndarray) -> np.ndarray:
    """Positions (T, 1, 2) of one synapse that moves to the right by `steps`."""
    return np.stack([np.zeros(len(steps)), steps], -1)[:, None].astype(np.float32)


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 50, 200])
@pytest.mark.parametrize("count", [1, 2, 5, 300])
@pytest.mark.parametrize("warm_up", [0, 2, 100, 10_000])
@pytest.mark.parametrize("trail_points", [1, 40])
def test_frames_ascend_from_the_first_snapshot_to_the_last(
    frames: int, count: int, warm_up: int, trail_points: int
) -> None:
    iterations = np.arange(count) * 3
    schedule = plan_frames(path(np.sqrt(np.arange(count))), iterations, warm_up, frames, trail_points=trail_points)
    assert len(schedule.frames) == (frames if count > 1 else 1)
    assert schedule.frames[-1] == len(schedule.moments) - 1
    assert schedule.moments[0] == 0
    assert schedule.moments[-1] == pytest.approx(count - 1)
    assert np.all(np.diff(schedule.moments) > 0)
    assert len(schedule.moments) >= (trail_points if count > 1 else 1)


def test_after_the_warm_up_frames_follow_movement() -> None:
    # Fast in the first tenth, nearly at rest afterwards.
    steps = np.concatenate([np.linspace(0, 10, 101), 10 + np.linspace(0, 0.1, 900)])
    schedule = plan_frames(path(steps), np.arange(1001), 0, 100, trail_points=1)
    moved = np.interp(schedule.moments, np.arange(1001), steps)
    in_the_fast_part = np.count_nonzero(schedule.moments <= 100)
    assert 70 <= in_the_fast_part <= 80
    assert np.diff(moved).max() < 0.2


def test_the_warm_up_is_short_but_seen() -> None:
    steps = np.clip(np.arange(1001) - 500, 0, None) / 100
    schedule = plan_frames(path(steps), np.arange(1001), 500, 100, trail_points=1)
    warm = np.count_nonzero(schedule.moments[schedule.frames] < 500)
    assert 4 <= warm <= 10


def test_a_run_without_movement_is_spread_by_iterations() -> None:
    schedule = plan_frames(path(np.zeros(101)), np.arange(101), 0, 11, trail_points=1)
    np.testing.assert_allclose(schedule.moments, np.arange(0, 101, 10))


def test_iterations_that_are_far_apart_count_by_their_distance() -> None:
    iterations = np.array([0, 10_000, 50_000])
    schedule = plan_frames(path(np.zeros(3)), iterations, 0, 6, trail_points=1)
    shown = at_moments(iterations, schedule.moments)
    np.testing.assert_allclose(shown, [0, 10_000, 20_000, 30_000, 40_000, 50_000])


def test_the_number_of_frames_follows_the_way_on_the_picture() -> None:
    long = path(np.linspace(0, 3, 1000))
    assert choose_frame_count(long, 30.0) == 90
    assert choose_frame_count(long, 1000.0) == MOST_FRAMES
    assert choose_frame_count(long, 0.1) == FEWEST_FRAMES
    assert choose_frame_count(long[:20], 30.0) == 20
    assert choose_frame_count(long[:1], 30.0) == 1


def test_values_between_snapshots_are_interpolated() -> None:
    values = np.array([[0.0], [10.0], [30.0]])
    np.testing.assert_allclose(at_moments(values, np.array([0.0, 0.5, 1.0, 1.75, 2.0])).ravel(), [0, 5, 10, 25, 30])
