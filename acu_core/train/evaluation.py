"""How well a network does on the test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class EvaluationStopped(Exception):
    """The evaluation was asked to stop before its end."""


@dataclass(frozen=True)
class Evaluation:
    """Counts over a test set; `loss` is the mean cross-entropy."""

    images: int
    errors: int
    loss: float

    @property
    def accuracy(self) -> float:
        """The share of images classified rightly, 0 to 1."""
        return (self.images - self.errors) / self.images


@torch.no_grad()
def evaluate_network(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    memory_format: str = "contiguous",
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Counts the errors on images (N, C, H, W) with labels (N,); the model's mode is put back afterwards.

    Raises EvaluationStopped when `stop()` turns true between two batches. `progress` gets the images done.
    """
    was_training = model.training
    model.eval()
    try:
        errors = torch.zeros((), dtype=torch.int64, device=images.device)
        loss = torch.zeros((), dtype=torch.float64, device="cpu" if images.device.type == "mps" else images.device)
        for start in range(0, len(images), batch_size):
            if stop is not None and stop():
                raise EvaluationStopped
            batch = images[start : start + batch_size].contiguous(memory_format=MEMORY_FORMATS[memory_format])
            expected = labels[start : start + batch_size]
            logits = model(batch).float()
            errors += (logits.argmax(1) != expected).sum()
            loss += functional.cross_entropy(logits, expected, reduction="sum").to(loss)
            if progress is not None:
                progress(min(start + batch_size, len(images)))
        return Evaluation(len(images), int(errors), float(loss) / len(images))
    finally:
        model.train(was_training)
