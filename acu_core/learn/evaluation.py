"""How well a network does on the test images."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from acu_core.data.data_set import DataSet
from acu_core.errors import UserError
from acu_core.learn.arithmetic import evaluating
from acu_core.learn.workplace import MEMORY_FORMATS


class EvaluationStopped(Exception):
    """An evaluation was asked to stop before its end."""


@dataclass(frozen=True)
class Evaluation:
    """Counts over a test set; `loss` is the mean cross-entropy.

    `top5_errors` are the images whose class is not among the five that the network finds likeliest: none where there
    are five classes or fewer.
    """

    images: int
    errors: int
    top5_errors: int
    loss: float

    @property
    def accuracy(self) -> float:
        """The share of images classified rightly, 0 to 1."""
        return (self.images - self.errors) / self.images

    @property
    def top5_accuracy(self) -> float:
        """The share of images whose class is among the five likeliest, 0 to 1."""
        return (self.images - self.top5_errors) / self.images


def finite_evaluation(evaluation: Evaluation, what: str) -> Evaluation:
    """`evaluation` itself. Raises UserError where its loss is not finite: its counts mean nothing then."""
    if not math.isfinite(evaluation.loss):
        raise UserError(f"the test loss of {what} is {evaluation.loss}: it has diverged, or is damaged")
    return evaluation


@torch.no_grad()
@evaluating()
def evaluate_network(
    model: nn.Module,
    data: DataSet,
    *,
    batch_size: int,
    memory_format: str = "contiguous",
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Counts the errors on the test images of `data`; the model's mode is put back afterwards.

    Always in float32, and never compiled: see `EVALUATION_PRECISION`.

    Raises EvaluationStopped when `stop()` turns true between two batches. `progress` gets the images done.
    """
    was_training = model.training
    model.eval()
    try:
        done = 0
        counts = loss = None
        # Closed here, for batches that worker processes prepare ahead: a stopped evaluation lets go of them at once.
        with closing(data.test_batches(batch_size)) as batches:
            for images, expected in batches:
                if stop is not None and stop():
                    raise EvaluationStopped
                if counts is None or loss is None:
                    device = images.device
                    counts = torch.zeros(2, dtype=torch.int64, device=device)
                    loss = torch.zeros((), dtype=torch.float64, device="cpu" if device.type == "mps" else device)
                logits = model(images.contiguous(memory_format=MEMORY_FORMATS[memory_format])).float()
                right = logits.argmax(1) == expected
                likeliest = logits.topk(min(5, logits.shape[1]), dim=1).indices
                # Among equal logits topk may pass over the one that argmax takes: a right answer is in the first five.
                among = (likeliest == expected[:, None]).any(1) | right
                counts += torch.stack([(~right).sum(), (~among).sum()])
                loss += functional.cross_entropy(logits, expected, reduction="sum").to(loss)
                done += len(images)
                if progress is not None:
                    progress(done)
        if counts is None or loss is None:
            raise ValueError("the data set has no test images")
        errors, top5_errors = counts.tolist()
        return Evaluation(done, errors, top5_errors, float(loss) / done)
    finally:
        model.train(was_training)
