"""The table [network]: what all networks have in common."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from acu_core.recipe.table import Table

SMALLEST_FRACTION = 1e-9
"""Of BatchNorm's average: 1 - (1 - fraction) loses its digits below, and an average over 10^9 batches never ends."""


class NetworkTable(Table):
    """The network, and whether its convolutions are ordinary or active. Each network has a class of its own."""

    built_by: ClassVar[str]
    """"module:callable", imported when the network is built.

    Called as `callable(in_channels=, classes=, unit=, **arguments)` with this table's `arguments`; returns a Module.
    """

    name: str
    unit: Literal["acu", "convolution"] = "acu"
    batch_norm_fraction: Annotated[float, Field(ge=SMALLEST_FRACTION, le=1)] = 0.001
    """Weight of the newest batch in BatchNorm's corrected running average (Caffe's 1 - moving_average_fraction).

    Statistics that come with stored weights are averaged on.
    """
    batch_norm: Literal["synchronized", "per_process"] = "synchronized"
    """Over which images BatchNorm normalises where several processes train: the whole batch, so that they give what one
    gives, or each its own share. One process has the whole batch either way.
    """
    options: Table = Field(default_factory=Table)

    @property
    def pretrained(self) -> bool:
        """Whether a training starts with stored weights, and with the statistics that come with them."""
        return False

    def arguments(self, *, pretrained: bool) -> dict[str, Any]:
        """What the network is built with beside channels, classes and unit: its options.

        `pretrained=False` builds a network whose state is loaded afterwards: stored weights are not read.
        """
        return dict(self.options)
