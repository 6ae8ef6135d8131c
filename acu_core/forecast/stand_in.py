"""The images that a training is measured on: the recipe's, or made-up ones of their size where they are not there."""

from __future__ import annotations

from pathlib import Path

import torch

from acu_core.data.made_up import made_up_data
from acu_core.errors import Action, UserError
from acu_core.forecast.known_data import SIZES
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.workplace import Workplace, choose_device
from acu_core.recipe.schema import Recipe

_MISSING = {Action.DOWNLOAD, Action.NAME_DATA}


def is_missing(error: UserError, recipe: Recipe, data_path: Path | None) -> bool:
    """Whether `error` says that the data are not where they are looked for by default, and are of a known size.

    A path that was named is meant: then the error is the user's to read.
    """
    named = data_path is not None or recipe.data.path
    return not named and recipe.data.name in SIZES and any(remedy.action in _MISSING for remedy in error.remedies)


def stand_in_workplace(recipe: Recipe, *, whole: bool, processes: Processes = ALONE) -> Workplace | None:
    """The recipe's device and threads with made-up images; None for data of unknown size.

    `whole`: as many as the data set keeps in memory. Else, and of image files, which lie on the disk, a few batches,
    which train as fast.
    """
    size = SIZES.get(recipe.data.name)
    if size is None:
        return None
    table = recipe.data
    processes.check_batch(table.batch_size)
    device = choose_device(recipe.machine.device, processes)
    shape = table.image_shape
    channels, height = shape[:2] if shape is not None else (size.channels, size.size)
    train, test = 2 * table.batch_size, 8 * table.evaluation_batch_size
    if whole and size.in_memory:
        train, test = size.train_images, size.test_images
    data = made_up_data(channels, height, size.classes, train, recipe.seed, test_count=min(test, size.test_images))
    if whole and size.in_memory and table.validation_images:
        data = data.hold_out(table.validation_images, recipe.seed)
    return Workplace(data.to(device), device, recipe.machine.threads or torch.get_num_threads(), processes)
