"""The table of torchvision's classification models."""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.short_text import shown
from acu_core.recipe.table import NAMED, PathText, Table, Text, custom, parts_of

PREFIX = "torchvision:"
"""What the name of a model of torchvision follows, as in torchvision:resnet18."""


@lru_cache(maxsize=1)
def torchvision_models() -> tuple[str, ...]:
    """The names of torchvision's classification models, in order; none where it is not installed.

    Read off its files, which takes milliseconds: importing torchvision would import PyTorch.
    """
    try:
        found = find_spec("torchvision")
    except ValueError:
        # A module that stands in for torchvision without having been found by anybody.
        found = None
    folders = (found.submodule_search_locations if found is not None else None) or []
    names: list[str] = []
    for folder in folders:
        for path in sorted(Path(folder, "models").glob("*.py")):
            text = path.read_text(encoding="utf-8", errors="replace")
            names += re.findall(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", text, re.MULTILINE)
    return tuple(sorted(names))


def _known(name: str) -> str:
    model, known = name.removeprefix(PREFIX), torchvision_models()
    if known and model not in known:
        near = difflib.get_close_matches(model[:100], known, n=3)
        # Its names are many: some thirty families in all sizes.
        advice = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise custom(f"torchvision has no classification model {shown(model)}; {advice}", NAMED)
    return name


class TorchvisionOptions(Table):
    """See `acu_core.nn.torchvision_network.torchvision_network`."""

    weights: PathText = ""
    """"" starts at random; "DEFAULT", "IMAGENET1K_V1", ... are torchvision's; all else is a state dict's path."""
    smallest_kernel: Annotated[int, Field(ge=2, le=64)] = 3
    """Convolutions at least so large on both sides become active; torchvision's largest is 32 x 32."""
    except_layers: Annotated[list[Annotated[Text, Field(min_length=1)]], BeforeValidator(parts_of)] = Field(
        default_factory=list
    )
    """Patterns of names of layers that stay ordinary. Also as a text, "conv1, layer1.*"."""


class TorchvisionNetwork(NetworkTable):
    """`acu_core.nn.torchvision_network.torchvision_network`, for every name that begins with "torchvision:"."""

    built_by: ClassVar[str] = "acu_core.nn.torchvision_network:torchvision_network"

    name: Annotated[str, AfterValidator(_known)]
    options: TorchvisionOptions = Field(default_factory=TorchvisionOptions)

    @property
    def pretrained(self) -> bool:
        """Whether there are weights to start with."""
        return bool(self.options.weights)

    def arguments(self, *, pretrained: bool) -> dict[str, Any]:
        """The options, the model's name, and whether its weights are read."""
        return {**dict(self.options), "name": self.name.removeprefix(PREFIX), "pretrained": pretrained}
