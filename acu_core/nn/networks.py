"""The networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from acu_core.nn.convolution_unit import Unit
from acu_core.nn.plain_network import Plain
from acu_core.nn.planted_network import Planted

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {"plain": Plain, "planted": Planted}
COMMON = ("in_channels", "classes", "unit")
"""What every network is made with; all else are its options."""


def _check_options(name: str, network: Callable[..., nn.Module], options: Mapping[str, Any]) -> None:
    known = [option for option in inspect.signature(network).parameters if option not in COMMON]
    unknown = [option for option in options if option not in known]
    if unknown:
        listed = f"it has {', '.join(known)}" if known else "it has none"
        raise ValueError(f"the network {name} has no option {unknown[0]!r}; {listed}")


def build_network(name: str, *, in_channels: int, classes: int, unit: Unit = "acu", **options: Any) -> nn.Module:
    """A network of `NETWORKS` by name.

    Args:
        name: of a network in `NETWORKS`.
        in_channels: channels of the images.
        classes: number of logits.
        unit: what the convolutions larger than 1x1 are: "acu" or "convolution".
        options: of the network; see its class.

    Raises:
        ValueError: the name, the unit or an option is unknown, or an option's value does not fit.
    """
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}; there are {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    _check_options(name, network, options)
    return network(in_channels, classes, unit, **options)
