"""The table of the residual network for CIFAR."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.table import Table


class ResidualOptions(Table):
    """See `acu_core.nn.residual_network.Residual`."""

    blocks: Annotated[int, Field(ge=1, le=200)] = 5
    """In each of three stages; 200 are the 1,202 layers of the deepest network of He et al."""


class ResidualNetwork(NetworkTable):
    """`acu_core.nn.residual_network.Residual`."""

    built_by: ClassVar[str] = "acu_core.nn.residual_network:Residual"

    options: ResidualOptions = Field(default_factory=ResidualOptions)
