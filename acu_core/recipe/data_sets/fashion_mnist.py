"""The table of Fashion-MNIST."""

from __future__ import annotations

from typing import ClassVar

from acu_core.recipe.data_table import DataTable


class FashionMnistData(DataTable):
    """`acu_core.data.fashion_mnist.fashion_mnist_data`."""

    loaded_by: ClassVar[str] = "acu_core.data.fashion_mnist:load_fashion_mnist"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """One for all; files may hold smaller ones, to try things in seconds."""
        return 1, 28, 28
