"""The table of timm's models."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from acu_core.recipe.networks.ready_made import ReadyMadeNetwork, check_known, registered_models
from acu_core.recipe.table import NAMED, custom

PREFIX = "timm:"
"""What the name of a model of timm follows, as in timm:resnet18."""


@lru_cache(maxsize=1)
def timm_models() -> tuple[str, ...]:
    """The names of timm's models, in order; none where it is not installed."""
    return registered_models("timm", "@register_model")


def _known(name: str) -> str:
    known = timm_models()
    model = name.removeprefix(PREFIX)
    # timm's own way to name weights. Here they stand in one place, whatever the library.
    bare, dot, weights = model.partition(".")
    if dot and bare in known and weights.isidentifier():
        raise custom(
            f'{model} names weights too: write {PREFIX}{bare}, and weights = "{weights}" in its options', NAMED
        )
    check_known(model, known, "timm has no model", f"there are {len(known)}, such as resnet18 and convnext_tiny")
    return name


class TimmNetwork(ReadyMadeNetwork):
    """`acu_core.nn.timm_network.timm_network`, for every name that begins with "timm:"."""

    built_by: ClassVar[str] = "acu_core.nn.timm_network:timm_network"
    prefix: ClassVar[str] = PREFIX

    name: Annotated[str, AfterValidator(_known)]
