"""Which training images make up the batch of an iteration."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from acu_core.data.randomness import generator_for
from acu_core.errors import UserError


def batch_indices(count: int, batch_size: int, *, seed: int, iteration: int) -> Tensor:
    """(batch_size,) int64 on the CPU: indices in 0..count-1 for `iteration`, which counts from 1.

    The training set is read in a fresh random order every epoch, and batches run on across the borders of epochs, so
    every image is used equally often whatever the batch size, which may exceed `count`. A pure function of its
    arguments: a resumed run continues the same sequence with no state saved.

    Raises `UserError` when count, batch_size or iteration is below 1, or the seed is negative.
    """
    if count < 1 or batch_size < 1 or iteration < 1:
        raise UserError(
            f"batches need at least one image, a batch size of 1 and an iteration of 1, "
            f"got {count}, {batch_size} and {iteration}."
        )
    first = (iteration - 1) * batch_size
    parts = []
    while first < iteration * batch_size:
        epoch, offset = divmod(first, count)
        part = _epoch_order(count, seed, epoch)[offset : offset + iteration * batch_size - first]
        parts.append(part)
        first += len(part)
    return torch.from_numpy(np.concatenate(parts))


@functools.lru_cache(maxsize=4)
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    # Kept because shuffling 50,000 indices anew for every batch would cost a millisecond each time.
    order = generator_for(seed, "epoch", epoch).permutation(count).astype(np.int64)
    order.flags.writeable = False
    return order
