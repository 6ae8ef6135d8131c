"""The table of the network for the built-in data."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.table import Table


class PlantedOptions(Table):
    """See `acu_core.nn.planted_network.Planted`."""

    width: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Two thousand times the network's own: its kernels come to 5 MB, a batch of 128 images to 34 MB then."""


class PlantedNetwork(NetworkTable):
    """`acu_core.nn.planted_network.Planted`."""

    built_by: ClassVar[str] = "acu_core.nn.planted_network:Planted"

    options: PlantedOptions = Field(default_factory=PlantedOptions)
