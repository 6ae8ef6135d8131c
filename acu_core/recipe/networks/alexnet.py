"""The table of AlexNet."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.table import Table


class AlexNetOptions(Table):
    """See `acu_core.nn.alexnet.AlexNet`."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    hidden: Annotated[int, Field(ge=1, le=16_384)] = 4096
    """Four times AlexNet's is the most: two layers have its square as weights, 1 GB."""


class AlexNetNetwork(NetworkTable):
    """`acu_core.nn.alexnet.AlexNet`."""

    built_by: ClassVar[str] = "acu_core.nn.alexnet:AlexNet"

    options: AlexNetOptions = Field(default_factory=AlexNetOptions)
