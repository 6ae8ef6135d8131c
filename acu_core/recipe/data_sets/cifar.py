"""The table of CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from typing import ClassVar

from acu_core.recipe.data_table import DataTable


class CifarData(DataTable):
    """`acu_core.data.cifar.cifar_data`; which of the two, the name says."""

    loaded_by: ClassVar[str] = "acu_core.data.cifar:load_cifar"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """CIFAR's; a file may hold smaller ones, to try things in seconds."""
        return 3, 32, 32
