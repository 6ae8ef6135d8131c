"""Which training images are held out for validation."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from acu_core.data.randomness import generator_for
from acu_core.errors import UserError

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def held_out_numbers(count: int, held_out: int, seed: int) -> tuple[Numbers, Numbers]:
    """(count - held_out,) and (held_out,) int64, ascending: the training images that remain, and those held out.

    A plain random draw by `seed`, the same share of every class only on average: like the test images, the ones held
    out are then a sample of all, and a class too small to be shared out needs no rule. Raises `UserError` where no
    training image would remain.
    """
    if held_out >= count:
        raise UserError(
            f"data.validation_images is {held_out}, but there are {count} training images: fewer must be held out"
        )
    order = generator_for(seed, "validation images").permutation(count).astype(np.int64)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def hash_of_numbers(numbers: Numbers) -> str:
    """The SHA-256 of image numbers."""
    return hashlib.sha256(numbers.astype("<i8").tobytes()).hexdigest()
