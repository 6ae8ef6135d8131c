"""The networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from acu_core.nn.alexnet import AlexNet
from acu_core.nn.convolution_unit import Unit
from acu_core.nn.plain_network import Plain
from acu_core.nn.planted_network import Planted
from acu_core.nn.residual_network import Residual
from acu_core.nn.resnet26 import ResNet26
from acu_core.nn.torchvision_network import torchvision_network

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "plain": Plain,
    "residual": Residual,
    "alexnet": AlexNet,
    "resnet26": ResNet26,
    "planted": Planted,
}
TORCHVISION = "torchvision:"
"""What the name of a model of torchvision follows, as in torchvision:resnet18."""

COMMON = ("name", "in_channels", "classes", "unit", "pretrained")
"""What a network is made with; all else are its options."""


def _check_options(name: str, network: Callable[..., nn.Module], options: Mapping[str, Any]) -> None:
    known = [option for option in inspect.signature(network).parameters if option not in COMMON]
    unknown = [option for option in options if option not in known]
    if unknown:
        listed = f"it has {', '.join(known)}" if known else "it has none"
        raise ValueError(f"the network {name} has no option {unknown[0]!r}; {listed}")


def build_network(
    name: str, *, in_channels: int, classes: int, unit: Unit = "acu", pretrained: bool = True, **options: Any
) -> nn.Module:
    """A network of `NETWORKS`, or of torchvision, by name.

    Args:
        name: of a network in `NETWORKS`, or "torchvision:" and torchvision's name of a classification model.
        in_channels: channels of the images.
        classes: number of logits.
        unit: what the convolutions larger than 1x1 are: "acu" or "convolution".
        pretrained: False builds a network that would start with stored weights without reading them, because its state
            is loaded afterwards.
        options: of the network; see its class, and `torchvision_network`.

    Raises:
        ValueError: the name, the unit or an option is unknown, or an option's value does not fit. `UserError`, which is
            one, where torchvision or weights are missing.
    """
    if name.startswith(TORCHVISION):
        _check_options(name, torchvision_network, options)
        model = name.removeprefix(TORCHVISION)
        return torchvision_network(model, in_channels, classes, unit, pretrained=pretrained, **options)
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}; there are {', '.join(NETWORKS)} and {TORCHVISION}NAME")
    network = NETWORKS[name]
    _check_options(name, network, options)
    return network(in_channels, classes, unit, **options)
