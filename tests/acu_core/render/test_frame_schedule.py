from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acu_core.render.frame_schedule import (
    FEWEST_FRAMES,
    MOST_FRAMES,
    FrameSchedule,
    Pace,
    at_iterations,
    at_moments,
    choose_frame_count,
    gaps,
    is_sparse,
    plan_frames,
)
from acu_core.render.recording import Recording


def record(steps: np.ndarray, iterations: np.ndarray | None = None, warm_up: int = 0) -> Recording:
    """One synapse that moves to the right by `steps`."""
    positions = np.stack([np.zeros(len(steps)), steps], -1)[:, None, None].astype(np.float32)
    chosen = np.arange(len(steps)) if iterations is None else np.asarray(iterations)
    return Recording(chosen, {"a": positions}, {"a": np.ones(positions.shape[:-1], np.float32)}, warm_up, None)


def plan(*recordings: Recording, frames: int, trail_points: int = 1, pace: Pace = Pace.MOVEMENT) -> FrameSchedule:
    return plan_frames(recordings, frames=frames, trail_points=trail_points, pace=pace)


def shown(schedule: FrameSchedule) -> list[float]:
    """The iterations of the frames."""
    return [float(i) for i in schedule.at_moments()[schedule.frames]]


@pytest.mark.parametrize("pace", Pace)
@pytest.mark.parametrize("frames", [1, 2, 3, 7, 50, 200])
@pytest.mark.parametrize("count", [1, 2, 5, 300])
@pytest.mark.parametrize("warm_up", [0, 2, 100, 10_000])
@pytest.mark.parametrize("trail_points", [1, 40])
def test_frames_ascend_from_the_first_snapshot_to_the_last(
    frames: int, count: int, warm_up: int, trail_points: int, pace: Pace
) -> None:
    recording = record(np.sqrt(np.arange(count)), np.arange(count) * 3, warm_up)
    schedule = plan(recording, frames=frames, trail_points=trail_points, pace=pace)
    assert len(schedule.frames) == (frames if count > 1 else 1)
    assert np.all(np.diff(schedule.frames) > 0)
    assert schedule.frames[-1] == len(schedule.moments) - 1
    assert schedule.moments[0] == 0
    assert schedule.moments[-1] == pytest.approx(count - 1)
    assert np.all(np.diff(schedule.moments) > 0)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=80),
    st.lists(st.floats(0, 3), min_size=81, max_size=81),
    st.integers(2, 120),
    st.integers(0, 100),
)
def test_every_frame_is_a_snapshot_or_says_between_which_two_it_lies(
    gaps: list[int], moved: list[float], frames: int, warm_up: int
) -> None:
    iterations = np.concatenate([[0], np.cumsum(gaps)])
    schedule = plan(record(np.cumsum(moved)[: len(iterations)], iterations, warm_up), frames=frames)
    known = set(iterations.tolist())
    for frame, iteration in zip(schedule.frames, shown(schedule), strict=True):
        before, after = schedule.neighbours(int(frame))
        assert {before, after} <= known
        if schedule.recorded(int(frame)):
            assert before == iteration == after
        else:
            assert before < iteration < after
            assert not any(before < between < after for between in known)


def test_an_ordinary_run_shows_only_what_was_recorded() -> None:
    rng = np.random.default_rng(0)
    recording = record(np.cumsum(rng.exponential(size=300)), warm_up=40)
    for pace in Pace:
        schedule = plan(recording, frames=140, trail_points=150, pace=pace)
        assert all(iteration == round(iteration) for iteration in shown(schedule))
        assert not is_sparse(recording)
        # Trails too go from snapshot to snapshot.
        assert np.all(schedule.moments == np.round(schedule.moments))


def test_a_record_of_few_snapshots_is_interpolated_and_shows_each_of_them() -> None:
    recording = record(np.array([0.0, 1.0, 5.0]), np.array([0, 10_000, 50_000]))
    schedule = plan(recording, frames=60, trail_points=150)
    assert is_sparse(recording)
    exact = [i for f, i in zip(schedule.frames, shown(schedule), strict=True) if schedule.recorded(int(f))]
    assert exact == [0, 10_000, 50_000]
    assert len(schedule.frames) == 60
    assert choose_frame_count([recording], 10.0) == FEWEST_FRAMES


def test_a_long_way_between_two_snapshots_among_many_is_not_one_jump() -> None:
    # 50 snapshots nearby, then one far away.
    recording = record(np.append(np.linspace(0, 1, 50), 3.0), np.append(np.arange(50), 1000))
    schedule = plan(recording, frames=40)
    between = [i for i in shown(schedule) if 49 < i < 1000]
    assert len(between) > 15
    assert all(i == round(i) for i in shown(schedule) if i <= 49)


def test_a_long_way_is_no_jump_after_any_number_of_snapshots() -> None:
    recording = record(np.append(np.linspace(0, 1, 3000), 3.0), np.append(np.arange(3000), 50_000))
    between = [i for i in shown(plan(recording, frames=60)) if 2999 < i < 50_000]
    assert len(between) > 30


def test_after_the_warm_up_frames_follow_movement() -> None:
    # Fast in the first tenth, nearly at rest afterwards.
    steps = np.concatenate([np.linspace(0, 10, 101), 10 + np.linspace(0, 0.1, 900)])
    schedule = plan(record(steps), frames=100)
    in_the_fast_part = sum(iteration <= 100 for iteration in shown(schedule))
    assert 70 <= in_the_fast_part <= 80
    # One snapshot more than even steps would take, for frames are snapshots.
    assert np.diff(np.interp(shown(schedule), np.arange(1001), steps)).max() < 0.21


def test_at_a_uniform_pace_frames_follow_iterations() -> None:
    steps = np.concatenate([np.linspace(0, 10, 101), 10 + np.linspace(0, 0.1, 900)])
    schedule = plan(record(steps, warm_up=50), frames=101, pace=Pace.UNIFORM)
    assert shown(schedule) == list(range(0, 1001, 10))
    assert schedule.pace is Pace.UNIFORM


def test_the_warm_up_is_short_but_seen() -> None:
    steps = np.clip(np.arange(1001) - 500, 0, None) / 100
    schedule = plan(record(steps, warm_up=500), frames=100)
    assert 4 <= sum(iteration < 500 for iteration in shown(schedule)) <= 10


def test_a_run_without_movement_is_spread_by_iterations() -> None:
    assert shown(plan(record(np.zeros(101)), frames=11)) == list(range(0, 101, 10))


def test_iterations_that_are_far_apart_count_by_their_distance() -> None:
    recording = record(np.zeros(3), np.array([0, 10_000, 50_000]))
    np.testing.assert_allclose(shown(plan(recording, frames=6)), [0, 10_000, 20_000, 30_000, 40_000, 50_000])


def test_the_number_of_frames_follows_the_way_on_the_picture() -> None:
    long = np.linspace(0, 3, 1000)
    assert choose_frame_count([record(long)], 30.0) == 90
    assert choose_frame_count([record(long)], 1000.0) == MOST_FRAMES
    assert choose_frame_count([record(long)], 0.1) == FEWEST_FRAMES
    # No more than were recorded, or some would have to be invented; unless those are too few to look like motion.
    assert choose_frame_count([record(long[:30])], 30.0) == 30
    assert choose_frame_count([record(long[:20])], 30.0) == FEWEST_FRAMES
    assert choose_frame_count([record(long[:1])], 30.0) == 1


def test_values_between_snapshots_are_interpolated() -> None:
    values = np.array([[0.0], [10.0], [30.0]])
    np.testing.assert_allclose(at_moments(values, np.array([0.0, 0.5, 1.0, 1.75, 2.0])).ravel(), [0, 5, 10, 25, 30])
    recorded = np.array([10, 20, 40])
    asked = np.array([0, 10, 15, 30, 40, 90])
    np.testing.assert_allclose(at_iterations(values, recorded, asked).ravel(), [0, 0, 5, 20, 30, 30])


def test_two_runs_share_the_iterations_that_both_recorded() -> None:
    one, other = record(np.arange(0.0, 298)), record(np.arange(0.0, 298, 3) * 2, np.arange(0, 298, 3))
    assert all(iteration % 3 == 0 for iteration in shown(plan(one, other, frames=60)))


def test_the_time_line_goes_from_the_first_start_to_the_last_end() -> None:
    one, other = record(np.arange(0.0, 50.0)), record(np.arange(0.0, 100.0), np.arange(20, 120))
    for recordings in ((one, other), (other, one)):
        iterations = shown(plan(*recordings, frames=30))
        assert (iterations[0], iterations[-1]) == (0, 119)
        # Beyond the end of one run the other goes on.
        assert sum(iteration > 49 for iteration in iterations) > 10


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [
        ([5], []),
        # Of few snapshots every step is unknown; from one iteration to the next there is nothing to know.
        ([0, 10_000, 50_000], [0, 1]),
        (range(10), []),
        ([0, 1, 2, 9], [2]),
        # Recording paused.
        ([*range(1, 200), *range(10_000, 10_200)], [198]),
        ([*range(3000), 10_000, 50_000], [2999, 3000]),
        ([0, *range(5000, 5100)], [0]),
        # It was only rarer, from the beginning or from some iteration on.
        (range(0, 64_000, 500), []),
        ([*range(1000), *range(1000, 50_000, 100)], []),
        ([*range(0, 5000, 100), *range(5000, 5100)], []),
        # A damaged snapshot or two.
        ([*range(50), *range(53, 100)], []),
    ],
)
def test_a_gap_is_a_step_much_longer_than_those_around_it(iterations: list[int], expected: list[int]) -> None:
    found = gaps(np.array(iterations))
    assert found.shape == (len(iterations) - 1,)
    assert np.flatnonzero(found).tolist() == expected
