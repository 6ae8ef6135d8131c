"""Which moments of one run, or of several, become frames."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from acu_core.render.recording import Recording

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FEWEST_FRAMES = 60
MOST_FRAMES = 140
# Below that a picture of recorded snapshots alone would jump.
FEWEST_SNAPSHOTS = 24
# A step this many times as long as those before it and those after it is one in which recording paused.
_PAUSE = 10
_STEPS_AROUND = 11
# Frames for which a snapshot may stand still outside a gap, where the next one is far.
_WIDEST_JUMP = 6.0
# Of the frames after the warm-up, this share follows movement and the rest the iterations: by movement alone, the long
# calm after the last division of the learning rate would pass in one frame.
_MOVEMENT_SHARE = 0.75
_WARM_UP_SHARE = 0.07
# The path is measured on this many points: between neighbouring iterations it is mostly the optimiser's jitter.
_MEASURED_POINTS = 400
_MOST_TRIES = 12

_Progress = tuple[Floats, Floats]


class Pace(enum.Enum):
    """What passes evenly while the animation plays."""

    MOVEMENT = "movement"
    UNIFORM = "uniform"


@dataclass(frozen=True)
class FrameSchedule:
    """Moments as fractional indices into `iterations` (T,), those that were recorded.

    `moments` (M,) ascends and is fine enough for smooth trails; `frames` (F,) are those of them that are drawn, as
    indices, the last moment always included. A moment that is no whole number lies between two snapshots: what is
    shown then was never recorded.
    """

    iterations: Integers
    moments: Floats
    frames: Integers
    pace: Pace

    def at_moments(self) -> Floats:
        """The iteration of every moment (M,), no whole number between snapshots."""
        return at_moments(self.iterations, self.moments)

    def only(self, iteration: int) -> FrameSchedule:
        """The same moments and one frame, at an iteration that was recorded."""
        place = float(np.searchsorted(self.iterations, iteration))
        moments = np.union1d(self.moments, [place])
        return FrameSchedule(self.iterations, moments, np.searchsorted(moments, [place]), self.pace)

    def recorded(self, moment: int) -> bool:
        """Whether the moment is one of `iterations`."""
        return bool(self.moments[moment] == np.round(self.moments[moment]))

    def neighbours(self, moment: int) -> tuple[int, int]:
        """The recorded iterations before and after a moment, which are one where it was recorded."""
        place = self.moments[moment]
        return int(self.iterations[math.floor(place)]), int(self.iterations[math.ceil(place)])


def gaps(iterations: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """Which steps between ascending recorded `iterations` (T,) leave a way that nobody recorded: (T - 1,).

    In a record of few snapshots all do, in one of many those much longer than the steps around them. Between an
    iteration and the next there is nothing to record.
    """
    steps = np.diff(iterations)
    if len(iterations) < FEWEST_SNAPSHOTS:
        few: npt.NDArray[np.bool_] = steps > 1
        return few
    # Where recording becomes rarer for good, or did so before, it does not pause.
    around = np.lib.stride_tricks.sliding_window_view(steps, _STEPS_AROUND)
    medians = np.median(around, axis=1)
    usual = np.zeros(len(steps))
    usual[_STEPS_AROUND:] = medians[: len(steps) - _STEPS_AROUND]
    usual[: len(steps) - _STEPS_AROUND] = np.maximum(usual[: len(steps) - _STEPS_AROUND], medians[1:])
    paused: npt.NDArray[np.bool_] = steps > _PAUSE * usual
    return paused


def crosses_gap(iterations: npt.NDArray[np.integer[Any]], moments: Floats) -> npt.NDArray[np.bool_]:
    """Which ways between ascending iterations `moments` (M,) lie in a gap of the recorded `iterations` (T,): (M - 1,).

    Before the first and after the last recorded iteration nothing moves, and nothing is unknown.
    """
    middles = (moments[:-1] + moments[1:]) / 2
    if len(iterations) < 2:
        return np.zeros(len(middles), np.bool_)
    step = np.searchsorted(iterations, middles, side="right") - 1
    inside = (step >= 0) & (step < len(iterations) - 1)
    crossed: npt.NDArray[np.bool_] = inside & gaps(iterations)[np.clip(step, 0, len(iterations) - 2)]
    return crossed


def choose_frame_count(recordings: Sequence[Recording], pixels_per_unit: float) -> int:
    """Frames for a motion of about one picture's pixel each; no more than snapshots unless there are gaps between."""
    iterations = _time_line(recordings)
    if len(iterations) < 2:
        return 1
    longest = max(
        float(np.hypot(*np.moveaxis(np.diff(synapses, axis=0), -1, 0)).sum(axis=0).max(initial=0.0))
        for synapses in _synapses(recordings, iterations[_measured(iterations, 0, len(iterations) - 1)])
    )
    wanted = max(FEWEST_FRAMES, min(MOST_FRAMES, math.ceil(longest * pixels_per_unit)))
    return wanted if gaps(iterations).any() else min(wanted, len(iterations))


def plan_frames(
    recordings: Sequence[Recording], *, frames: int, trail_points: int, pace: Pace = Pace.MOVEMENT
) -> FrameSchedule:
    """Spreads `frames` frames over the iterations of all recordings together.

    By movement: evenly by the way that the synapses go, for the most part; the warm-up, in which nothing moves, gets a
    few frames of its own, so that it is seen and does not bore. Every frame is the snapshot nearest to its moment. Only
    a step without snapshots that takes longer than frames may wait has frames between: in a gap, and by movement in any
    step of more than one iteration that takes many frames. Where neither gives enough, there are fewer frames.
    """
    iterations = _time_line(recordings)
    count = len(iterations)
    if count < 2:
        return FrameSchedule(iterations, np.zeros(1), np.zeros(1, np.int64), pace)
    stride = max(1, math.ceil((trail_points - 1) / max(1, frames - 1)))
    points = (frames - 1) * stride + 1 if frames > 1 else max(2, trail_points)
    progress = _progress(recordings, iterations, points, pace)
    wanted = _spread(progress, points)
    wanted[-1] = count - 1
    shown = _choose(progress, iterations, frames, pace) if frames > 1 else wanted[-1:]
    # A trail is a line from snapshot to snapshot; where those are few, it has points between to fade by.
    paused = np.append(gaps(iterations), False)
    inside = paused[wanted.astype(np.int64)]
    ends = np.flatnonzero(paused)
    between = np.where(inside, wanted, np.round(wanted)) if count >= len(wanted) else np.append(wanted, range(count))
    moments = np.unique(np.concatenate([shown, between, ends, ends + 1]))
    return FrameSchedule(iterations, moments, np.searchsorted(moments, shown), pace)


def at_moments(values: npt.NDArray[np.number[Any]], moments: Floats) -> Floats:
    """`values` (T, ...) at fractional indices (M,), linear between neighbours: (M, ...)."""
    below = np.minimum(moments.astype(np.int64), len(values) - 1)
    above = np.minimum(below + 1, len(values) - 1)
    part = (moments - below).reshape(-1, *([1] * (values.ndim - 1)))
    mixed: Floats = values[below] * (1 - part) + values[above] * part
    return mixed


def at_iterations(values: npt.NDArray[np.number[Any]], recorded: Integers, iterations: Floats | Integers) -> Floats:
    """`values` (T, ...) of iterations `recorded` (T,) at `iterations` (M,): (M, ...); beyond the ends as at them."""
    return at_moments(values, np.interp(iterations, recorded, np.arange(len(recorded), dtype=np.float64)))


def _time_line(recordings: Sequence[Recording]) -> Integers:
    """The iterations of all recordings, without those that one of them passed and did not record, if many are left."""
    iterations = np.unique(np.concatenate([recording.iterations for recording in recordings]))
    shared = np.ones(len(iterations), np.bool_)
    for recording in recordings:
        own = recording.iterations
        shared &= (iterations < own[0]) | (iterations > own[-1]) | np.isin(iterations, own)
    # The ends stay, so that no run is cut.
    ends = np.isin(iterations, [end for r in recordings for end in (r.iterations[0], r.iterations[-1])])
    chosen: Integers = iterations[shared | ends] if shared.sum() >= FEWEST_SNAPSHOTS else iterations
    return chosen


def _choose(progress: _Progress, iterations: Integers, frames: int, pace: Pace) -> Floats:
    """The moments (F,) of up to `frames` frames, the first and the last of the time line among them."""
    asked, chosen = frames, np.zeros(0)
    for _ in range(_MOST_TRIES):
        found = _settle(progress, iterations, asked, pace)
        if len(found) <= len(chosen):
            break
        chosen = found
        if len(chosen) >= frames:
            break
        # Some steps had no snapshot for each of their frames: the others get them.
        asked += max(frames - len(chosen), asked * (frames - len(chosen)) // len(chosen))
    while len(chosen) > frames:
        due = np.interp(chosen, *progress[::-1])
        chosen = np.delete(chosen, 1 + int(np.argmin(due[2:] - due[:-2]))) if frames > 2 else chosen[[0, -1]]
    return chosen


def _settle(progress: _Progress, iterations: Integers, frames: int, pace: Pace) -> Floats:
    """The moments of `frames` frames put on the nearest snapshots, none twice, or between those of a long step."""
    count = len(iterations)
    steps = np.arange(frames)
    wanted = _spread(progress, frames)
    # The frame, no whole number, at which each snapshot would come.
    due = np.interp(np.arange(count), *progress[::-1]) * (frames - 1)
    before = np.clip(np.floor(wanted).astype(np.int64), 0, count - 2)
    nearest = np.where(steps - due[before] <= due[before + 1] - steps, before, before + 1)
    nearest[[0, -1]] = 0, count - 1
    longest = np.where(gaps(iterations) | (pace is Pace.UNIFORM), 1.0 + 1e-9, _WIDEST_JUMP)
    between = (np.diff(iterations) > 1) & (np.diff(due) > longest)
    # Each snapshot is within half a frame of one frame only.
    far = between[before] & (np.floor(due[nearest] + 0.5) != steps)
    far[[0, -1]] = False
    return np.unique(np.where(far, wanted, nearest))


def _measured(iterations: Integers, start: int, end: int) -> Integers:
    """Indices from `start` to `end` with few steps between, and both sides of every long time without a snapshot."""
    places = np.linspace(start, end, min(end - start + 1, _MEASURED_POINTS)).round().astype(np.int64)
    gaps = np.diff(iterations[start : end + 1])
    long = start + np.flatnonzero(gaps > (iterations[end] - iterations[start]) / _MEASURED_POINTS)
    chosen: Integers = np.unique(np.concatenate([places, long, long + 1]))
    return chosen


def _synapses(recordings: Sequence[Recording], iterations: Integers) -> list[Floats]:
    """Every layer's synapses of every recording at `iterations` (M,): each (M, S, 2)."""
    return [
        at_iterations(values, recording.iterations, iterations).reshape(len(iterations), -1, 2)
        for recording in recordings
        for values in recording.positions.values()
    ]


def _progress(recordings: Sequence[Recording], iterations: Integers, points: int, pace: Pace) -> _Progress:
    """How much of the animation, 0 to 1, has passed at which moments: both ascend strictly."""
    count = len(iterations)
    if pace is Pace.UNIFORM:
        return _passed(recordings, iterations, np.arange(count), pace), np.arange(count, dtype=np.float64)
    warm_up = min(recording.warm_up for recording in recordings)
    still = min(max(int(np.searchsorted(iterations, warm_up, side="right")) - 1, 0), count - 1)
    if still in (0, count - 1) or points < 4:
        index = _measured(iterations, 0, count - 1)
        return _passed(recordings, iterations, index, pace), index.astype(np.float64)
    calm = (max(2, round(_WARM_UP_SHARE * points)) - 1) / (points - 1)
    waiting, moving = _measured(iterations, 0, still), _measured(iterations, still, count - 1)
    parts = [
        calm * _passed(recordings, iterations, waiting, pace),
        calm + (1 - calm) * _passed(recordings, iterations, moving, pace)[1:],
    ]
    return np.concatenate(parts), np.concatenate([waiting, moving[1:]]).astype(np.float64)


def _passed(recordings: Sequence[Recording], iterations: Integers, index: Integers, pace: Pace) -> Floats:
    """How much of the way between the first and the last of the snapshots `index` (P,) is done at each: 0 to 1."""
    first, last = iterations[index[[0, -1]]]
    time: Floats = (iterations[index] - first) / float(last - first)
    if pace is Pace.MOVEMENT:
        synapses = np.concatenate(_synapses(recordings, iterations[index]), axis=1)
        moved = np.hypot(*np.moveaxis(np.diff(synapses, axis=0), -1, 0)).mean(axis=1)
        if moved.sum() > 0:
            movement = np.concatenate([[0.0], np.cumsum(moved)]) / moved.sum()
            # It ascends strictly, because the iterations do.
            time = _MOVEMENT_SHARE * movement + (1 - _MOVEMENT_SHARE) * time
    return time


def _spread(progress: _Progress, points: int) -> Floats:
    """`points` moments, evenly through the animation."""
    return np.interp(np.linspace(0.0, 1.0, points), *progress)
