"""A run's network beside the file that was written of it, over all test images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from acu_core.learn.evaluation import Evaluation, evaluate_network
from acu_core.learn.workplace import Workplace
from acu_core.recipe.schema import Recipe
from acu_core.train.events import Events

LARGEST_DIFFERENCE = 1e-4
"""Between two logits of the same image, in float32: beyond it a file is refused. Where logits exceed 100 (in a network
that has diverged, say) the difference may be that many times larger: float32 itself is no finer there."""


@dataclass(frozen=True)
class Comparison:
    """The run's network beside the file, over all test images."""

    images: int
    errors: int
    exported_errors: int
    largest_difference: float
    largest_logit: float

    @property
    def equal(self) -> bool:
        """Whether the logits are the same at float32's rounding. False where one is not a number."""
        return self.largest_difference <= self.allowed_difference

    @property
    def allowed_difference(self) -> float:
        """What `largest_difference` may be."""
        return LARGEST_DIFFERENCE * max(1.0, self.largest_logit / 100)


class _Recorded(nn.Module):
    """Passes images on and keeps the logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.logits: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        self.logits.append(logits)
        return logits


def compare(model: nn.Module, written: nn.Module, recipe: Recipe, place: Workplace, events: Events) -> Comparison:
    """Evaluates both networks on all test images.

    Both get contiguous images, whatever the recipe says: each layout sums in an order of its own, and the rounding of
    all the layers that are the same in both would hide what differs.
    """
    # The weights too: a layer takes the layout of either.
    model = model.to(memory_format=torch.contiguous_format)
    count = place.data.test_count
    events.begin(2 * count, 0)

    def evaluated(network: nn.Module, stage: str, before: int) -> tuple[Evaluation, Tensor]:
        recorded = _Recorded(network)
        result = evaluate_network(
            recorded,
            place.data,
            batch_size=recipe.data.evaluation_batch_size,
            progress=lambda done: events.advance(before + done, stage, None, None),
        )
        return result, torch.cat(recorded.logits)

    ours, expected = evaluated(model, "evaluating the run", 0)
    theirs, logits = evaluated(written, "evaluating the file", count)
    # A NaN stays one, in amax and in float: `equal` is False then.
    difference = float((logits.double() - expected.double()).abs().amax())
    return Comparison(ours.images, ours.errors, theirs.errors, difference, float(expected.abs().amax()))
