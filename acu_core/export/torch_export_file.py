"""Networks as .pt2 files: `torch.export`'s own format."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from acu_core.errors import UserError

METADATA_FILE = "acu.json"


def trace_network(network: nn.Module, images: Tensor) -> ExportedProgram:
    """The network as `torch.export` sees it, for any number of images. Raises UserError when it cannot."""
    try:
        with torch.no_grad():
            program = torch.export.export(network, (images,), dynamic_shapes=({0: Dim("batch")},))
    # The tracer runs the network's own code, which may fail in any way.
    except Exception as error:
        raise UserError(
            f"torch.export cannot trace this network ({_first_line(error)}): export it as .safetensors"
        ) from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                # Where the code lay and what its classes are called: the same network gives the same file anywhere.
                node.meta.pop("stack_trace", None)
                node.meta.pop("nn_module_stack", None)
    return program


def encode_exported_program(network: nn.Module, images: Tensor, description: Mapping[str, Any]) -> bytes:
    """The file's content; `images` (2, C, H, W) have the size that the network will take."""
    file = io.BytesIO()
    text = json.dumps(description, ensure_ascii=False)
    torch.export.save(trace_network(network, images), file, extra_files={METADATA_FILE: text})
    return file.getvalue()


class _Called(nn.Module):
    # Not a child: an exported program refuses train() and eval().
    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self._call = program.module().forward

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._call(images)
        return logits


def load_exported_program(path: Path, network: nn.Module) -> nn.Module:
    """The network of the file; `network` does not matter."""
    # Opened here, because the name of a file that is being written does not end with .pt2.
    with open(path, "rb") as file:
        return _Called(torch.export.load(file))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
