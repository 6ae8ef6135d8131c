"""The batch of an iteration."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from acu_core.data.data_set import DataSet
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.workplace import MEMORY_FORMATS
from acu_core.recipe.schema import Recipe


def recipe_batch(recipe: Recipe, data: DataSet, iteration: int, processes: Processes = ALONE) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) and labels (B,) of training iteration `iteration`, counted from 1, on the data's device.

    Augmented as the recipe says, in its memory format. B is the recipe's batch size, or of several processes this one's
    share of it: together they have the same batch. Raises UserError when an image cannot be read.
    """
    batch_size = recipe.data.batch_size
    arguments: dict[str, Any] = {
        "batch_size": batch_size,
        "seed": recipe.seed,
        "crop_padding": recipe.data.crop_padding,
        "mirror": recipe.data.mirror,
    }
    if processes.several:
        images, labels = data.training_rows(iteration, processes.share(batch_size), **arguments)
    else:
        images, labels = data.training_batch(iteration, **arguments)
    return images.contiguous(memory_format=MEMORY_FORMATS[recipe.machine.memory_format]), labels
