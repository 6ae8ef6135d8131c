"""All that is evaluated at one moment of a training: a network and its average, on test images and held-out ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from acu_core.data.data_set import DataSet
from acu_core.learn.evaluation import Evaluation

Evaluate = Callable[[nn.Module, DataSet], Evaluation]
"""Counts the errors of a network on the test images of a data set."""


@dataclass(frozen=True)
class EvaluatedMoment:
    """`test` is the network's own evaluation; the others are None where there is nothing to evaluate."""

    test: Evaluation
    average_test: Evaluation | None = None
    """Of the averaged weights."""
    validation: Evaluation | None = None
    """On the images held out of the training set."""
    average_validation: Evaluation | None = None

    def losses(self) -> Iterator[tuple[str, float]]:
        """Each loss, and what it is called."""
        for name, found in (
            ("test loss", self.test),
            ("test loss of the averaged weights", self.average_test),
            ("validation loss", self.validation),
            ("validation loss of the averaged weights", self.average_validation),
        ):
            if found is not None:
                yield name, found.loss

    def not_finite(self) -> tuple[str, float] | None:
        """The first loss that is no number any more."""
        return next(((name, loss) for name, loss in self.losses() if not math.isfinite(loss)), None)


def evaluate_moment(evaluate: Evaluate, model: nn.Module, average: nn.Module | None, data: DataSet) -> EvaluatedMoment:
    """Calls `evaluate` up to four times: each network on each part of the data."""
    held_out = data.validation
    return EvaluatedMoment(
        test=evaluate(model, data),
        average_test=evaluate(average, data) if average is not None else None,
        validation=evaluate(model, held_out) if held_out is not None else None,
        average_validation=evaluate(average, held_out) if average is not None and held_out is not None else None,
    )
