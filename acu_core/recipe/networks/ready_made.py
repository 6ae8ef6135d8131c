"""What the tables of other libraries' models have in common: their names, their weights and what becomes active."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.short_text import shown
from acu_core.recipe.table import NAMED, PathText, Table, Text, custom, parts_of


def registered_models(package: str, decorator: str) -> tuple[str, ...]:
    """The names of the functions under `decorator` in a package's folder "models"; none where it is not installed.

    Read off its files, which takes milliseconds: importing it would import PyTorch.
    """
    try:
        found = find_spec(package)
    except ValueError:
        # A module that stands in for the package without having been found by anybody.
        found = None
    folders = (found.submodule_search_locations if found is not None else None) or []
    pattern = re.compile(rf"^{re.escape(decorator)}\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
    names: list[str] = []
    for folder in folders:
        for path in sorted(Path(folder, "models").glob("*.py")):
            names += pattern.findall(path.read_text(encoding="utf-8", errors="replace"))
    return tuple(sorted(names))


def check_known(model: str, known: Sequence[str], sentence: str, otherwise: str) -> None:
    """Raises an error with near names when `model` is none of `known`; where nothing is known, anything may be.

    `sentence` begins it, such as "torchvision has no classification model"; `otherwise` ends it where nothing is near.
    """
    if known and model not in known:
        near = difflib.get_close_matches(model[:100], known, n=3)
        advice = f"did you mean {', '.join(near)}?" if near else otherwise
        raise custom(f"{sentence} {shown(model)}; {advice}", NAMED)


class ReadyMadeOptions(Table):
    """What can be said about any library's model; see `torchvision_network` and `timm_network`."""

    weights: PathText = ""
    """"" starts at random; "DEFAULT", "IMAGENET1K_V1", ... are the library's; all else is a state dict's path."""
    smallest_kernel: Annotated[int, Field(ge=2, le=64)] = 3
    """Convolutions at least so large on both sides become active; torchvision's largest is 32 x 32."""
    except_layers: Annotated[list[Annotated[Text, Field(min_length=1)]], BeforeValidator(parts_of)] = Field(
        default_factory=list
    )
    """Patterns of names of layers that stay ordinary. Also as a text, "conv1, layer1.*"."""


class ReadyMadeNetwork(NetworkTable):
    """A network whose name is a library's prefix and the library's name of a model."""

    prefix: ClassVar[str]
    """What the model's name follows, such as "torchvision:"."""

    options: ReadyMadeOptions = Field(default_factory=ReadyMadeOptions)

    @property
    def pretrained(self) -> bool:
        """Whether there are weights to start with."""
        return bool(self.options.weights)

    def arguments(self, *, pretrained: bool) -> dict[str, Any]:
        """The options, the model's name, and whether its weights are read."""
        return {**dict(self.options), "name": self.name.removeprefix(self.prefix), "pretrained": pretrained}
