"""The table of the paper's plain network."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.table import Table


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("should be odd")
    return value


class PlainOptions(Table):
    """See `acu_core.nn.plain_network.Plain`. The layers in question see 8 x 8 pixels: beyond lie zeros only."""

    last_kernel: Annotated[int, Field(ge=3, le=63), AfterValidator(_odd)] = 3
    last_dilation: Annotated[int, Field(ge=1, le=63)] = 1
    first_active_stage: Annotated[int, Field(ge=1, le=3)] = 1


class PlainNetwork(NetworkTable):
    """`acu_core.nn.plain_network.Plain`."""

    built_by: ClassVar[str] = "acu_core.nn.plain_network:Plain"

    options: PlainOptions = Field(default_factory=PlainOptions)
