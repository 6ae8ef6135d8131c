"""The table of a folder of images."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from acu_core.recipe.data_sets.image_files import ImageFilesData, ImageFilesOptions


class ImageFolderData(ImageFilesData):
    """`acu_core.data.image_folder.image_folder_data`."""

    loaded_by: ClassVar[str] = "acu_core.data.image_folder:load_image_folder"

    options: ImageFilesOptions = Field(default_factory=ImageFilesOptions)
