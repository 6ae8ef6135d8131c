"""How near the learned shape came to the hidden one of the planted data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = 0.5


@dataclass(frozen=True)
class ShapeRecovery:
    """Distances in pixels from each learned synapse to its hidden one, the fixed centre left out."""

    median_distance: float
    largest_distance: float
    near: int
    """Synapses within 0.5 pixels."""
    synapses: int


def shape_recovery(learned: Tensor, hidden: Tensor) -> ShapeRecovery:
    """Compares `learned` (1, K, 2) with `hidden` (1, K, 2), synapse by synapse; both in the order of a 3x3 kernel.

    No matching is needed: synapse t starts in the direction in which hidden synapse t lies.
    """
    moving = torch.arange(hidden.shape[1]) != hidden.shape[1] // 2
    distances = torch.linalg.vector_norm(learned.double().cpu()[0, moving] - hidden.double().cpu()[0, moving], dim=1)
    # Of an even count torch.median takes the lower middle; the mean of both is what people mean.
    median = distances.quantile(0.5)
    return ShapeRecovery(float(median), float(distances.max()), int((distances <= NEAR).sum()), len(distances))
