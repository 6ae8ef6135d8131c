"""Which image stands in for one that cannot be read."""

from __future__ import annotations

from acu_core.data.randomness import generator_for

MOST_IN_A_ROW = 10
"""Images tried for one place of a batch: where all are broken, the disk is gone or the data set is."""


def replacements(count: int, *, seed: int, iteration: int, row: int) -> list[int]:
    """`MOST_IN_A_ROW` indices in 0..count-1: the first whose file can be read takes the place `row` of the batch.

    A pure function of its arguments, so a batch stays one of (seed, iteration) and of which files can be read, whatever
    was read before and whoever reads which rows. Drawn from all images alike: the next one of the order, say, would
    stand in the same batch twice.
    """
    return [
        int(index) for index in generator_for(seed, f"replacement {row}", iteration).integers(0, count, MOST_IN_A_ROW)
    ]
