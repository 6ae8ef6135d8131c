"""What of a run's log is drawn below its shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acu_core.runs.metrics import Metrics

# What a drop leaves of the rate, and what an iteration leaves of it that is no part of a smooth fall.
_DROP, _LEVEL = 0.8, 0.95


@dataclass(frozen=True)
class TrainingCurve:
    """Test errors in percent (E,) at iterations (E,); iterations (D,) with which a learning rate fell at once."""

    iterations: npt.NDArray[np.int64]
    errors: npt.NDArray[np.float64]
    drops: npt.NDArray[np.int64]

    @classmethod
    def of(cls, metrics: Metrics) -> TrainingCurve:
        """That of a run's log; empty arrays where nothing was evaluated or nothing fell."""
        steps = np.array([record.iteration for record in metrics.training], np.int64)
        rates = np.array([record.learning_rate for record in metrics.training])
        drops = steps[1:][_is_drop(rates)]
        evaluated = np.array([record.iteration for record in metrics.evaluations], np.int64)
        errors = np.array([100.0 * record.test_errors / record.test_images for record in metrics.evaluations])
        return cls(evaluated, errors, drops)


def _is_drop(rates: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(N - 1,): whether the rate falls at once from each of (N,) iterations to the next.

    The end of a cosine falls by as much, but more steeply from iteration to iteration: a drop comes from a level, or
    right after another drop.
    """
    drops = rates[1:] < _DROP * rates[:-1]
    for place in np.flatnonzero(drops):
        if place and not drops[place - 1] and rates[place] < _LEVEL * rates[place - 1]:
            drops[place] = False
    return drops
