"""What of a run's log is drawn below its shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acu_core.runs.metrics import Metrics

# A schedule that falls smoothly is no drop.
_DROP = 0.8


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
        drops = steps[1:][rates[1:] < _DROP * rates[:-1]]
        evaluated = np.array([record.iteration for record in metrics.evaluations], np.int64)
        errors = np.array([100.0 * record.test_errors / record.test_images for record in metrics.evaluations])
        return cls(evaluated, errors, drops)
