"""The loss of the training's batches, in as many points as a page can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acu_core.runs.metrics import TrainingRecord

_MOST_POINTS = 400
_LOW, _HIGH = 10, 90


@dataclass(frozen=True)
class TrainingLoss:
    """Losses (P,) of the batches of `per` consecutive iterations each: their mean, and the middle 80 % of them.

    `last` (P,) is the last iteration of each point; the last point may hold fewer.
    """

    per: int
    last: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    @classmethod
    def of(cls, records: Sequence[TrainingRecord], first: int, last: int) -> TrainingLoss | None:
        """That of the iterations `first` to `last`, both included; None where nothing was trained."""
        inside = [record for record in records if first <= record.iteration <= last]
        if not inside:
            return None
        per = -(-len(inside) // _MOST_POINTS)
        losses = np.array([record.loss for record in inside])
        ends = np.minimum(np.arange(per, len(inside) + per, per), len(inside))
        parts = np.split(losses, ends[:-1])
        low, high = np.array([np.percentile(part, [_LOW, _HIGH]) for part in parts]).T
        iterations = np.array([inside[end - 1].iteration for end in ends], np.int64)
        return cls(per, iterations, np.array([part.mean() for part in parts]), low, high)
