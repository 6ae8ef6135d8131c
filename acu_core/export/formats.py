"""The formats by the suffix of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from acu_core.errors import UserError
from acu_core.export.onnx_file import OPSET, encode_onnx, load_onnx, require_onnx
from acu_core.export.state_dict_file import encode_state_dict, load_state_dict
from acu_core.export.torch_export_file import encode_exported_program, load_exported_program


@dataclass(frozen=True)
class Format:
    """How a network is written and read again.

    `encode(network, images, description)` gives the file's content, `load(path, network)` a network that computes what
    the file holds (tensors alone: an empty copy of `network` with them), `require()` raises UserError where a package
    is missing.
    """

    name: str
    encode: Callable[[nn.Module, Tensor, Mapping[str, Any]], bytes]
    load: Callable[[Path, nn.Module], nn.Module]
    require: Callable[[], None] = lambda: None
    opset: int | None = None


FORMATS: Mapping[str, Format] = {
    ".safetensors": Format("a plain state dict", encode_state_dict, load_state_dict),
    ".pt2": Format("torch.export", encode_exported_program, load_exported_program),
    ".onnx": Format("ONNX", encode_onnx, load_onnx, require_onnx, OPSET),
}


def format_of(path: Path) -> Format:
    """The format of a file's suffix. Raises UserError when there is none, or its packages are missing."""
    chosen = FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise UserError(f"{path} does not say its format: let its name end with {', '.join(FORMATS)}")
    chosen.require()
    return chosen
