"""The table of the residual network for Places365."""

from __future__ import annotations

from typing import ClassVar

from acu_core.recipe.network_table import NetworkTable


class ResNet26Network(NetworkTable):
    """`acu_core.nn.resnet26.ResNet26`."""

    built_by: ClassVar[str] = "acu_core.nn.resnet26:ResNet26"
