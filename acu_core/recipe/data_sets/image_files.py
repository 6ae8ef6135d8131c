"""What the tables of all data sets of image files have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from acu_core.recipe.data_table import DataTable
from acu_core.recipe.table import Table, located, numbers_of

Pixels = Annotated[int, Field(ge=1, le=4096)]
"""Of a side: an image of 4096 x 4096 takes 200 MB as float32."""
Mean = Annotated[float, Field(ge=-1e6, le=1e6)]
Deviation = Annotated[float, Field(ge=1e-6, le=1e6)]
"""Above 0: images are divided by it."""


class ImageFilesOptions(Table):
    """How decoded images become the network's input: see `acu_core.data.image_files.Preprocessing`."""

    crop: Pixels = 224
    resize: Pixels = 256
    """Shorter side of a test image before its centre is cut out."""
    smallest_crop: Annotated[float, Field(ge=1e-6, le=1)] = 0.08
    """Least share of a training image's area; a millionth is less than a pixel of most images."""
    mean: Annotated[list[Mean], Field(min_length=3, max_length=3), BeforeValidator(numbers_of)] = Field(
        default_factory=lambda: [0.485, 0.456, 0.406]
    )
    """Of red, green and blue, 0 to 1: ImageNet's by default. Also as a text, "0.485, 0.456, 0.406"."""
    std: Annotated[list[Deviation], Field(min_length=3, max_length=3), BeforeValidator(numbers_of)] = Field(
        default_factory=lambda: [0.229, 0.224, 0.225]
    )
    skip_broken: bool = False
    """Whether an image that cannot be read is left out, named and counted, and not an error."""

    @model_validator(mode="after")
    def _crop_fits(self) -> ImageFilesOptions:
        if self.crop > self.resize:
            raise located(f"{self.crop} is larger than resize, {self.resize}", "crop")
        return self


class ImageFilesData(DataTable):
    """A data set of image files, whose crops are set by its options."""

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Of a crop, in colour."""
        crop = getattr(self.options, "crop", None)
        return None if crop is None else (3, crop, crop)

    @model_validator(mode="after")
    def _crops_of_files(self) -> ImageFilesData:
        if self.crop_padding:
            reason = f"is not for {self.name}, whose crops are set by data.options (crop, resize)"
            raise located(reason, "crop_padding")
        return self
