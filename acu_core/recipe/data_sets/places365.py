"""The table of Places365."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from acu_core.recipe.data_sets.image_files import ImageFilesData, ImageFilesOptions


class Places365Options(ImageFilesOptions):
    """Those of all image files, and which of the two sizes is read."""

    large: bool = False


class Places365Data(ImageFilesData):
    """`acu_core.data.places365.places365_data`."""

    loaded_by: ClassVar[str] = "acu_core.data.places365:load_places365"

    options: Places365Options = Field(default_factory=Places365Options)
