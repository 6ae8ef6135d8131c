"""The table [data]: what all data sets have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from acu_core.recipe.table import BatchSize, PathText, Table

MOST_PADDING = 1024
"""Pixels. Reflection needs an image larger than the padding; how large the images are, only the data tell."""
MOST_VALIDATION_IMAGES = 10**9
"""How many training images there are, only the data tell."""


class DataTable(Table):
    """The data set, its batches and its augmentation. Each data set has a class of its own, with its options."""

    loaded_by: ClassVar[str]
    """"module:function" of `function(source: DataSource, **options) -> DataSet`, imported when the data is loaded."""

    is_made: ClassVar[bool] = False
    """Whether the data set is made rather than read, so that it lies nowhere."""

    name: str
    path: PathText = ""
    """An .npz file or a folder; empty: where the data set is looked for by default."""
    batch_size: BatchSize
    evaluation_batch_size: BatchSize = 500
    crop_padding: Annotated[int, Field(ge=0, le=MOST_PADDING)] = 0
    """Pixels of reflect padding before the random crop; 0 is no crop."""
    mirror: bool = False
    validation_images: Annotated[int, Field(ge=0, le=MOST_VALIDATION_IMAGES)] = 0
    """Held out of the training set, drawn by the recipe's seed, and evaluated beside the test images."""
    options: Table = Field(default_factory=Table)
    """Passed to the data set."""

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of the images that the network is given; None where only the data tell."""
        return None
