"""The table of the built-in data."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from acu_core.recipe.data_table import DataTable
from acu_core.recipe.table import Table

MOST = 1_000_000
"""Images, 2.3 GB: they are all made at the start and stay in memory."""


class PlantedOptions(Table):
    """How many images are made."""

    train_count: Annotated[int, Field(ge=2, le=MOST)] = 40_000
    """At least 2, because they are standardised."""
    test_count: Annotated[int, Field(ge=1, le=MOST)] = 5_000


class PlantedData(DataTable):
    """`acu_core.data.planted.planted_data`."""

    loaded_by: ClassVar[str] = "acu_core.data.planted:load_planted"
    is_made: ClassVar[bool] = True

    crop_padding: Annotated[int, Field(ge=0, le=16)] = 0
    """Reflected from images of 17 x 17."""
    options: PlantedOptions = Field(default_factory=PlantedOptions)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """One for all."""
        return 2, 17, 17
