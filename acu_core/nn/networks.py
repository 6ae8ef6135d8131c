"""The networks by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from acu_core.nn.convolution_unit import Unit
from acu_core.recipe.named_table import network_table
from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.registry import imported


def build_network(
    name: str, *, in_channels: int, classes: int, unit: Unit = "acu", pretrained: bool = True, **options: Any
) -> nn.Module:
    """A network by name: one of `acu_core.recipe.registry.NETWORKS`, torchvision's and timm's among them.

    Args:
        name: in the registry, or "torchvision:" and torchvision's name of a classification model, or "timm:" and timm's
            name of a model.
        in_channels: channels of the images.
        classes: number of logits.
        unit: what the convolutions larger than 1x1 are: "acu" or "convolution".
        pretrained: False builds a network that would start with stored weights without reading them, because its state
            is loaded afterwards.
        options: of the network; see its class, `torchvision_network` and `timm_network`.

    Raises:
        UserError: the name, the unit or an option is unknown, an option's value does not fit, or torchvision, timm or
            weights are missing. It is a ValueError.
        ValueError: the network is not for such images.
    """
    table = network_table(name, unit, options)
    return network_of(table, in_channels=in_channels, classes=classes, pretrained=pretrained)


def network_of(table: NetworkTable, *, in_channels: int, classes: int, pretrained: bool = True) -> nn.Module:
    """The network of a recipe's table [network]; see `build_network`."""
    arguments = table.arguments(pretrained=pretrained)
    model: nn.Module = imported(table.built_by)(in_channels=in_channels, classes=classes, unit=table.unit, **arguments)
    return model
