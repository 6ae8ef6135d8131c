"""The table of torchvision's classification models."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from acu_core.recipe.networks.ready_made import ReadyMadeNetwork, check_known, registered_models

PREFIX = "torchvision:"
"""What the name of a model of torchvision follows, as in torchvision:resnet18."""


@lru_cache(maxsize=1)
def torchvision_models() -> tuple[str, ...]:
    """The names of torchvision's classification models, in order; none where it is not installed."""
    return registered_models("torchvision", "@register_model()")


def _known(name: str) -> str:
    known = torchvision_models()
    # Its names are few enough to be listed: some thirty families in all sizes.
    check_known(
        name.removeprefix(PREFIX), known, "torchvision has no classification model", f"there are {', '.join(known)}"
    )
    return name


class TorchvisionNetwork(ReadyMadeNetwork):
    """`acu_core.nn.torchvision_network.torchvision_network`, for every name that begins with "torchvision:"."""

    built_by: ClassVar[str] = "acu_core.nn.torchvision_network:torchvision_network"
    prefix: ClassVar[str] = PREFIX

    name: Annotated[str, AfterValidator(_known)]
