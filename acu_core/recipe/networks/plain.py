"""The table of the paper's plain network."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.table import Table, located


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("should be odd")
    return value


class PlainOptions(Table):
    """See `acu_core.nn.plain_network.Plain`. The layers in question see 8 x 8 pixels: beyond lie zeros only."""

    last_kernel: Annotated[int, Field(ge=3, le=63), AfterValidator(_odd)] = 3
    last_dilation: Annotated[int, Field(ge=1, le=63)] = 1
    first_active_stage: Annotated[int, Field(ge=1, le=3)] = 1
    width: Annotated[float, Field(ge=1 / 16, le=16)] = 1.0
    """What all numbers of channels are multiplied with."""
    shape: Literal["square", "circle", "random"] = "square"
    """Where the synapses start; random: each layer draws its own, by the recipe's seed."""


class PlainNetwork(NetworkTable):
    """`acu_core.nn.plain_network.Plain`."""

    built_by: ClassVar[str] = "acu_core.nn.plain_network:Plain"

    options: PlainOptions = Field(default_factory=PlainOptions)

    @model_validator(mode="after")
    def _shapes_are_of_active_units(self) -> PlainNetwork:
        if self.unit != "acu" and self.options.shape != "square":
            reason = "needs network.unit = acu: an ordinary convolution has no other shape than the square"
            raise located(reason, "options", "shape")
        return self
