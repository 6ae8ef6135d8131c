"""The formats by the suffix of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from acu_core.errors import UserError
from acu_core.export.form_request import CUSTOM, DENSE, SHIFTS
from acu_core.export.onnx_file import OPSET, encode_onnx, load_onnx, require_onnx
from acu_core.export.onnx_runs import onnx_layer_runs, onnx_network_runs
from acu_core.export.state_dict_file import encode_state_dict, load_state_dict
from acu_core.export.torch_export_file import encode_exported_program, load_exported_program
from acu_core.export.torch_runs import torch_runs

Runs = Callable[[Mapping[str, nn.Module], tuple[int, ...], int], Mapping[str, Callable[[], object]]]
"""Makes calls that each run one of some modules, by name, on as many images as the last number says, of a size
(C, H, W)."""


@dataclass(frozen=True)
class Format:
    """How a network is written and read again.

    `encode(network, images, description)` gives the file's content, `load(path, network)` a network that computes what
    the file holds (tensors alone: an empty copy of `network` with them), `require()` raises UserError where a package
    is missing.

    `forms` are those of an active layer that it can hold. `layer_runs` and `network_runs` run in the format's runtime
    what `encode` would write; of layers, `SURROUNDINGS` may be one more. `symmetric` and `channels_last` are how that
    runtime computes `shifts` best (see `ShiftsForm`).
    """

    name: str
    encode: Callable[[nn.Module, Tensor, Mapping[str, Any]], bytes]
    load: Callable[[Path, nn.Module], nn.Module]
    forms: tuple[str, ...] = (DENSE, SHIFTS)
    runtime: str = "PyTorch"
    layer_runs: Runs = torch_runs
    network_runs: Runs = torch_runs
    symmetric: bool = True
    channels_last: bool = True
    require: Callable[[], None] = lambda: None
    opset: int | None = None


FORMATS: Mapping[str, Format] = {
    ".safetensors": Format("a plain state dict", encode_state_dict, load_state_dict),
    ".pt2": Format("torch.export", encode_exported_program, load_exported_program, (DENSE, SHIFTS, CUSTOM)),
    ".onnx": Format(
        "ONNX",
        encode_onnx,
        load_onnx,
        runtime="ONNX Runtime",
        layer_runs=onnx_layer_runs,
        network_runs=onnx_network_runs,
        symmetric=False,
        channels_last=False,
        require=require_onnx,
        opset=OPSET,
    ),
}


def format_of(path: Path) -> Format:
    """The format of a file's suffix. Raises UserError when there is none, or its packages are missing."""
    chosen = FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise UserError(f"{path} does not say its format: let its name end with {', '.join(FORMATS)}")
    chosen.require()
    return chosen
