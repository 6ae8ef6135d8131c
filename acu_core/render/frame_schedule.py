"""Which moments of one run, or of several, become frames."""

from __future__ import annotations

import enum
import itertools
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
# Frames between two snapshots that would stand still if only snapshots were shown.
_WIDEST_JUMP = 6.0
# Of the frames after the warm-up, this share follows movement and the rest the iterations: by movement alone, the long
# calm after the last division of the learning rate would pass in one frame.
_MOVEMENT_SHARE = 0.75
_WARM_UP_SHARE = 0.07
# The path is measured on this many points: between neighbouring iterations it is mostly the optimiser's jitter.
_MEASURED_POINTS = 400


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


def is_sparse(recording: Recording) -> bool:
    """Whether a part of a trail lies between snapshots that are far apart, and was never recorded."""
    return bool(gaps(recording.iterations).any())


def choose_frame_count(recordings: Sequence[Recording], pixels_per_unit: float) -> int:
    """Frames for a motion of about one picture's pixel each; no more than snapshots where those are many."""
    iterations = _time_line(recordings)
    if len(iterations) < 2:
        return 1
    longest = max(
        float(np.hypot(*np.moveaxis(np.diff(synapses, axis=0), -1, 0)).sum(axis=0).max(initial=0.0))
        for synapses in _synapses(recordings, iterations[_measured(iterations, 0, len(iterations) - 1)])
    )
    wanted = max(FEWEST_FRAMES, min(MOST_FRAMES, math.ceil(longest * pixels_per_unit)))
    return min(wanted, len(iterations)) if len(iterations) >= FEWEST_SNAPSHOTS else wanted


def plan_frames(
    recordings: Sequence[Recording], *, frames: int, trail_points: int, pace: Pace = Pace.MOVEMENT
) -> FrameSchedule:
    """Spreads `frames` frames over the iterations of all recordings together.

    By movement: evenly by the way that the synapses go, for the most part; the warm-up, in which nothing moves, gets a
    few frames of its own, so that it is seen and does not bore. Where snapshots are close enough together every frame
    is one of them; where they are not, every one of them is a frame, and the frames between lie between snapshots.
    """
    iterations = _time_line(recordings)
    count = len(iterations)
    if count < 2:
        return FrameSchedule(iterations, np.zeros(1), np.zeros(1, np.int64), pace)
    stride = max(1, math.ceil((trail_points - 1) / max(1, frames - 1)))
    points = (frames - 1) * stride + 1 if frames > 1 else max(2, trail_points)
    warm_up = min(recording.warm_up for recording in recordings)
    still = min(max(int(np.searchsorted(iterations, warm_up, side="right")) - 1, 0), count - 1)
    if pace is Pace.UNIFORM or still == count - 1 or still == 0 or points < 4:
        pieces = [(0, count - 1, points)]
    else:
        calm = max(2, round(_WARM_UP_SHARE * points))
        pieces = [(0, still, calm), (still, count - 1, points - calm + 1)]
    spread = [_spread(recordings, iterations, *piece, pace) for piece in pieces]
    wanted = np.concatenate([spread[0], *(part[1:] for part in spread[1:])])
    wanted[-1] = count - 1
    chosen = wanted[::stride] if frames > 1 else wanted[-1:]
    shown = _settle(chosen, count) if frames > 1 else chosen
    # A trail is a line from snapshot to snapshot; where those are few, it has points between to fade by.
    between = np.round(wanted) if count >= len(wanted) else np.concatenate([wanted, np.arange(count)])
    moments = np.unique(np.concatenate([shown, between]))
    moments = moments[moments <= shown[-1]]
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


def _settle(wanted: Floats, count: int) -> Floats:
    """Ascending `wanted` (F,) from 0 to count - 1, put on whole numbers wherever those are close enough together."""
    # The frame at which each whole number would come.
    due = np.interp(np.arange(count), wanted, np.arange(len(wanted)))
    wide = np.flatnonzero(np.diff(due) > _WIDEST_JUMP)
    settled: Floats = wanted.copy()
    for start, end in zip([0, *(wide + 1)], [*wide, count - 1], strict=True):
        first, last = round(due[start]), round(due[end]) + 1
        fit = _snap if last - first <= end - start + 1 else _meet
        settled[first:last] = start + fit(wanted[first:last] - start, end - start + 1)
    return settled


def _snap(wanted: Floats, count: int) -> Floats:
    """The whole numbers 0 to count - 1 that are nearest to ascending `wanted` (F,), F <= count, no number twice."""
    steps = np.arange(len(wanted))
    nearest = np.maximum(0, np.maximum.accumulate(np.round(wanted) - steps)) + steps
    snapped: Floats = np.minimum(nearest, count - len(wanted) + steps)
    return snapped


def _meet(wanted: Floats, count: int) -> Floats:
    """Ascending `wanted` (F,) with the nearest number put on each of the fewer whole numbers 0 to count - 1."""
    met = wanted.copy()
    places = _snap(np.interp(np.arange(count), wanted, np.arange(len(wanted))), len(wanted)).astype(np.int64)
    met[places] = np.arange(count)
    # Those between whole numbers stay between them.
    gap = np.searchsorted(places, np.arange(len(wanted)), side="right") - 1
    inside: Floats = np.clip(met, gap, np.minimum(gap + 1, count - 1))
    for first, second in itertools.pairwise(places):
        part = inside[first : second + 1]
        if np.any(np.diff(part) <= 0):
            inside[first : second + 1] = np.linspace(part[0], part[-1], len(part))
    return inside


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


def _spread(
    recordings: Sequence[Recording], iterations: Integers, start: int, end: int, points: int, pace: Pace
) -> Floats:
    index = _measured(iterations, start, end)
    time = (iterations[index] - iterations[start]) / float(iterations[end] - iterations[start])
    progress = time
    if pace is Pace.MOVEMENT:
        synapses = np.concatenate(_synapses(recordings, iterations[index]), axis=1)
        moved = np.hypot(*np.moveaxis(np.diff(synapses, axis=0), -1, 0)).mean(axis=1)
        if moved.sum() > 0:
            movement = np.concatenate([[0.0], np.cumsum(moved)]) / moved.sum()
            progress = _MOVEMENT_SHARE * movement + (1 - _MOVEMENT_SHARE) * time
    # `progress` ascends strictly, because the iterations do.
    return np.interp(np.linspace(0.0, 1.0, points), progress, index.astype(np.float64))
