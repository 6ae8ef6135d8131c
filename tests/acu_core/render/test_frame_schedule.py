from __future__ import annotations

import itertools

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
        assert not gaps(recording.iterations).any()
        # Trails too go from snapshot to snapshot.
        assert np.all(schedule.moments == np.round(schedule.moments))


def test_a_record_of_few_snapshots_is_interpolated_and_shows_each_of_them() -> None:
    recording = record(np.array([0.0, 1.0, 5.0]), np.array([0, 10_000, 50_000]))
    schedule = plan(recording, frames=60, trail_points=150)
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


STEPS = st.lists(
    st.one_of(st.integers(1, 3), st.sampled_from([1, 10, 500, 5000])).flatmap(
        lambda step: st.integers(1, 60).map(lambda times: [step] * times)
    ),
    min_size=1,
    max_size=6,
).map(lambda parts: np.concatenate([[0], np.cumsum(np.concatenate(parts))]))


@given(STEPS, st.integers(2, 200))
def test_at_a_uniform_pace_every_frame_is_near_its_time(iterations: np.ndarray, frames: int) -> None:
    """However unevenly was recorded: no frames crowd, and none is left out as long as there is an iteration for it."""
    span = int(iterations[-1])
    frames = min(frames, span + 1)
    found = np.array(shown(plan(record(np.sqrt(iterations), iterations), frames=frames, pace=Pace.UNIFORM)))
    ideal = np.linspace(0, span, frames)
    assert len(found) == frames
    assert np.abs(found - ideal).max() <= 0.5001 * span / (frames - 1)


@given(STEPS, STEPS, st.integers(0, 20_000), st.integers(2, 60))
def test_two_runs_of_any_steps_share_a_time_line_without_crowding(
    one: np.ndarray, other: np.ndarray, begins: int, frames: int
) -> None:
    recordings = record(np.sqrt(one), one), record(np.sqrt(other), other + begins)
    schedule = plan(*recordings, frames=frames, pace=Pace.UNIFORM)
    found = np.array(shown(schedule))
    span = found[-1] - found[0]
    if span + 1 < frames:
        return
    assert np.abs(found - np.linspace(found[0], found[-1], frames)).max() <= 0.5001 * span / (frames - 1)


def test_a_run_beside_one_of_two_snapshots_is_no_crowd_before_a_jump() -> None:
    run = record(np.sqrt(np.arange(3001)) / 50, warm_up=400)
    authors = record(np.array([0.0, 1.0]), np.array([10_000, 50_000]), 10_000)
    for frames, pace in itertools.product((20, 40), Pace):
        found = np.array(shown(plan(authors, run, frames=frames, pace=pace)))
        assert len(found) == frames
        # The whole way of the authors' shapes is many frames, and no two of the run's are neighbouring snapshots.
        assert (found > 10_000).sum() > frames / 3
        assert np.diff(found).min() > 3


@pytest.mark.parametrize("count", [2, 10, 23, 40])
@pytest.mark.parametrize("pace", Pace)
def test_between_an_iteration_and_the_next_is_nothing(count: int, pace: Pace) -> None:
    """Whoever asks for more frames than there are iterations gets each of them once."""
    schedule = plan(record(np.arange(count) ** 2 / 10), frames=60, trail_points=150, pace=pace)
    assert shown(schedule) == list(range(count))
    assert all(map(schedule.recorded, schedule.frames))


@given(st.lists(st.sampled_from([1, 1, 1, 2, 40]), min_size=1, max_size=60), st.integers(2, 200))
def test_no_frame_lies_between_neighbouring_iterations(steps: list[int], frames: int) -> None:
    iterations = np.concatenate([[5], 5 + np.cumsum(steps)])
    for pace in Pace:
        schedule = plan(record(np.sqrt(iterations), iterations), frames=frames, pace=pace)
        for frame in schedule.frames:
            before, after = schedule.neighbours(int(frame))
            assert after - before != 1


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
    # No more than were recorded, or some would have to be invented; unless there is a way that nobody recorded.
    for count in (30, 20, 10):
        assert choose_frame_count([record(long[:count])], 30.0) == count
    assert choose_frame_count([record(long[:20], np.arange(20) * 2)], 30.0) == FEWEST_FRAMES
    paused = np.array([*range(1, 200), *range(10_000, 10_200)])
    assert choose_frame_count([record(long[:399], paused)], 1.0) == FEWEST_FRAMES
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
