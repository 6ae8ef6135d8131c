"""Images and labels that mean nothing, of any size: where only the time of a training matters."""

from __future__ import annotations

import torch

from acu_core.data.in_memory import InMemoryData
from acu_core.data.randomness import generator_for


def made_up_data(channels: int, size: int, classes: int, count: int, seed: int = 0) -> InMemoryData:
    """`count` training images and as many test images, (count, channels, size, size) standard normal, labels random."""
    draw = generator_for(seed, "made-up data")

    def part() -> tuple[torch.Tensor, torch.Tensor]:
        images = draw.standard_normal((count, channels, size, size), dtype="float32")
        return torch.from_numpy(images), torch.from_numpy(draw.integers(0, classes, count))

    return InMemoryData("made up", *part(), *part(), class_names=tuple(f"class {number}" for number in range(classes)))
