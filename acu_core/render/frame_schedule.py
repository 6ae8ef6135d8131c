"""Which moments of a run become frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FEWEST_FRAMES = 60
MOST_FRAMES = 140
# Of the frames after the warm-up, this share follows movement and the rest the iterations: by movement alone, the long
# calm after the last division of the learning rate would pass in one frame.
_MOVEMENT_SHARE = 0.75
_WARM_UP_SHARE = 0.07
# The path is measured on this many points: between neighbouring iterations it is mostly the optimiser's jitter.
_MEASURED_POINTS = 400


@dataclass(frozen=True)
class FrameSchedule:
    """Moments of the run as fractional indices into its snapshots.

    `moments` (M,) ascends and is fine enough for smooth trails; `frames` (F,) are those of them that are drawn, as
    indices, the last moment always included.
    """

    moments: npt.NDArray[np.float64]
    frames: npt.NDArray[np.int64]


def choose_frame_count(positions: npt.NDArray[np.float32], pixels_per_unit: float) -> int:
    """Frames for a motion of about one picture's pixel each: positions (T, S, 2) of all S synapses."""
    if len(positions) < 2:
        return 1
    measured = positions[_measured(len(positions))]
    longest = float(np.hypot(*np.moveaxis(np.diff(measured, axis=0), -1, 0)).sum(axis=0).max(initial=0.0))
    wanted = math.ceil(longest * pixels_per_unit)
    return min(max(FEWEST_FRAMES, min(MOST_FRAMES, wanted)), len(positions))


def plan_frames(
    positions: npt.NDArray[np.float32], iterations: npt.NDArray[np.int64], warm_up: int, frames: int, trail_points: int
) -> FrameSchedule:
    """Spreads `frames` frames over positions (T, S, 2) at iterations (T,), by equal movement for the most part.

    The warm-up, in which nothing moves, gets a few frames of its own, so that it is seen and does not bore.
    """
    count = len(iterations)
    if count < 2:
        return FrameSchedule(np.zeros(1), np.zeros(1, np.int64))
    stride = max(1, math.ceil((trail_points - 1) / max(1, frames - 1)))
    points = (frames - 1) * stride + 1 if frames > 1 else max(2, trail_points)
    still = int(np.searchsorted(iterations, warm_up, side="right")) - 1
    still = min(max(still, 0), count - 1)
    if still == count - 1 or still == 0 or points < 4:
        pieces = [(0, count - 1, points)]
    else:
        calm = max(2, round(_WARM_UP_SHARE * points))
        pieces = [(0, still, calm), (still, count - 1, points - calm + 1)]
    moments = [_spread(positions, iterations, *piece) for piece in pieces]
    joined = np.concatenate([moments[0], *(part[1:] for part in moments[1:])])
    return FrameSchedule(joined, np.arange(0, points, stride) if frames > 1 else np.array([points - 1]))


def at_moments(values: npt.NDArray[np.number[Any]], moments: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`values` (T, ...) at fractional indices (M,), linear between neighbours: (M, ...)."""
    below = np.minimum(moments.astype(np.int64), len(values) - 1)
    above = np.minimum(below + 1, len(values) - 1)
    part = (moments - below).reshape(-1, *([1] * (values.ndim - 1)))
    mixed: npt.NDArray[np.float64] = values[below] * (1 - part) + values[above] * part
    return mixed


def _measured(count: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, _MEASURED_POINTS)).round().astype(np.int64))


def _spread(
    positions: npt.NDArray[np.float32], iterations: npt.NDArray[np.int64], start: int, end: int, points: int
) -> npt.NDArray[np.float64]:
    index = start + _measured(end - start + 1)
    moved = np.hypot(*np.moveaxis(np.diff(positions[index].astype(np.float64), axis=0), -1, 0)).mean(axis=1)
    time = (iterations[index] - iterations[start]) / float(iterations[end] - iterations[start])
    progress = time
    if moved.sum() > 0:
        movement = np.concatenate([[0.0], np.cumsum(moved)]) / moved.sum()
        progress = _MOVEMENT_SHARE * movement + (1 - _MOVEMENT_SHARE) * time
    # `progress` ascends strictly, because the iterations do.
    return np.interp(np.linspace(0.0, 1.0, points), progress, index.astype(np.float64))
