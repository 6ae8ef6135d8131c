"""How well a network does on the test images."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from acu_core.data.data_set import DataSet
from acu_core.errors import UserError
from acu_core.learn.arithmetic import evaluating
from acu_core.learn.meetings import Meetings
from acu_core.learn.processes import ALONE, Processes
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
    processes: Processes = ALONE,
) -> Evaluation:
    """Counts the errors on the test images of `data`; the model's mode is put back afterwards.

    Always in float32, and never compiled: see `EVALUATION_PRECISION`.

    Raises EvaluationStopped when `stop()` turns true between two batches. `progress` gets the images done.
    Several processes share the batches out, whole ones: each computes what one process alone would, and all get the
    counts and the loss that it would get. `stop()` may then turn true in any of them.
    """
    was_training = model.training
    model.eval()
    meetings = Meetings(processes, stop or (lambda: False))
    try:
        done = 0
        counts = torch.zeros(2, dtype=torch.int64)
        losses: list[Tensor] = []
        number = -(-data.test_count // batch_size)
        ours = processes.share(number)
        # Closed here, for batches that worker processes prepare ahead: a stopped evaluation lets go of them at once.
        batches = data.some_test_batches(batch_size, ours) if processes.several else data.test_batches(batch_size)
        with closing(batches):
            for step in range(max(len(share) for share in processes.shares(number))):
                if meetings.stop(step):
                    raise EvaluationStopped
                if step >= len(ours):
                    continue
                batch = next(batches, None)
                # Fewer than expected, where nothing of one can be read.
                if batch is None:
                    continue
                images, expected = batch
                logits = model(images.contiguous(memory_format=MEMORY_FORMATS[memory_format])).float()
                right = logits.argmax(1) == expected
                likeliest = logits.topk(min(5, logits.shape[1]), dim=1).indices
                # Among equal logits topk may pass over the one that argmax takes: a right answer is in the first five.
                among = (likeliest == expected[:, None]).any(1) | right
                counts = counts.to(images.device) + torch.stack([(~right).sum(), (~among).sum()])
                losses.append(functional.cross_entropy(logits, expected, reduction="sum"))
                done += len(images)
                if progress is not None:
                    progress(done)
        return _whole(done, counts, losses, data, processes)
    finally:
        model.train(was_training)


def _whole(done: int, counts: Tensor, losses: list[Tensor], data: DataSet, processes: Processes) -> Evaluation:
    """The evaluation that all processes' batches make up."""
    images, errors, top5_errors = processes.gathered(torch.cat([torch.tensor([done]), counts.cpu()])).sum(0).tolist()
    if processes.several and data.broken_images is not None:
        # Each process has left out its own, and no more than one alone may.
        own = [image for image in data.broken_images.found.values() if image.part == data.test_part]
        known = [image for found in processes.collected(own[:1]) for image in found]
        if known:
            data.check_left_out(data.test_count - images, known[0])
    if not images:
        raise ValueError("the data set has no test images")
    total = 0.0
    # In the order of the batches, whoever had them: addition is not associative. (`sum` would compensate from Python
    # 3.12 on.)
    for part in processes.collected(torch.stack(losses).double().tolist() if losses else []):
        for loss in part:
            total += loss
    return Evaluation(images, errors, top5_errors, total / images)
