"""Networks as a plain state dict in a .safetensors file, with the layers' description as its metadata."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from acu_core.export.architecture import NotDescribable, describe_steps

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
    """An empty copy of `network` with the tensors of the file; what the file's description says does not matter.

    Raises RuntimeError for a tensor that the file lacks, has too many, or has in another shape: nothing of `network`'s
    values remains.
    """
    empty = copy.deepcopy(network).to("meta")
    empty.load_state_dict(load_file(path), assign=True)
    return empty.eval()
