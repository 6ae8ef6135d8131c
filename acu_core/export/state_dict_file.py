"""Networks as a plain state dict in a .safetensors file, with the layers' description as its metadata."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from acu_core.export.architecture import DescribedNetwork, NotDescribable, describe_steps

# One key, because the order of several is another in each file.
METADATA_KEY = "acu"


def encode_state_dict(network: nn.Module, images: Tensor, description: Mapping[str, Any]) -> bytes:
    """The file's content; `images` do not matter."""
    try:
        steps = describe_steps(network)
    except NotDescribable:
        steps = {"steps": None, "result": None}
    # Copies: shared layers have two names and one storage, which the format has no way to say.
    state = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    content: bytes = save(state, {METADATA_KEY: json.dumps({**description, **steps}, ensure_ascii=False)})
    return content


def load_state_dict(path: Path, network: nn.Module) -> nn.Module:
    """The network of the file: built from the file alone where it describes the steps, else from an empty `network`.

    Nothing of `network`'s values remains: a tensor that the file lacks is an error.
    """
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
    if description["steps"] is None:
        empty = copy.deepcopy(network).to("meta")
    else:
        with torch.device("meta"):
            empty = DescribedNetwork(description)
    empty.load_state_dict(load_file(path), assign=True)
    return empty.eval()
