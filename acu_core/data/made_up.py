"""Images and labels that mean nothing, of any size: where only the time of a training matters."""

from __future__ import annotations

import torch

from acu_core.data.in_memory import InMemoryData
from acu_core.data.randomness import generator_for


def made_up_data(
    channels: int, size: int, classes: int, count: int, seed: int = 0, *, test_count: int | None = None
) -> InMemoryData:
    """Images (count, channels, size, size) standard normal, labels random; `test_count` test images, or as many."""
    draw = generator_for(seed, "made-up data")

    def part(images_wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
        images = draw.standard_normal((images_wanted, channels, size, size), dtype="float32")
        return torch.from_numpy(images), torch.from_numpy(draw.integers(0, classes, images_wanted))

    train, test = part(count), part(count if test_count is None else test_count)
    return InMemoryData("made up", *train, *test, class_names=tuple(f"class {number}" for number in range(classes)))
