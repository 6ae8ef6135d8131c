"""Networks as .onnx files: standard operators in one file, evaluated by ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from acu_core.errors import UserError
from acu_core.export.torch_export_file import trace_network

OPSET = 18
METADATA_KEY = "acu"
# What protobuf can hold in one message.
_LARGEST_FILE = 2**31 - 1


def require_onnx() -> None:
    """Raises UserError when a package of the extra is missing."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed: "
            "pip install 'active-convolution[onnx]'"
        )


def encode_onnx(network: nn.Module, images: Tensor, description: Mapping[str, Any]) -> bytes:
    """The file's content; `images` (2, C, H, W) have the size that the network will take.

    Raises UserError when the network has an operation that ONNX lacks, or is too large for one file.
    """
    model = encode_model(network, images, 1)
    _set_metadata(model, description)
    if model.ByteSize() > _LARGEST_FILE:
        raise UserError("this network is larger than the 2 GiB that one ONNX file can hold: use .pt2 or .safetensors")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def encode_model(network: nn.Module, images: Tensor, outputs: int) -> Any:
    """The network as ONNX's own message, for any number of images; a single one of its `outputs` is called logits.

    Raises UserError when the network has an operation that ONNX lacks.
    """
    program = trace_network(network, images)
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"] if outputs == 1 else [f"output{number}" for number in range(outputs)],
            external_data=False,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"this network cannot be written as ONNX ({str(error).splitlines()[0]}): use .pt2") from error
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model: Any = exported.model_proto
    foreign = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if foreign or model.functions:
        raise UserError(f"this network needs operators beyond ONNX's own ({', '.join(foreign)}): use .pt2")
    _clean(model)
    return model


def _clean(model: Any) -> None:
    """Takes out what tells of the machine and the code, and names the batch."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    graph.name = "network"
    for tensor in (*graph.input, *graph.output):
        shape = tensor.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_param:
            shape.dim[0].dim_param = "batch"


def _set_metadata(model: Any, description: Mapping[str, Any]) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(description, ensure_ascii=False)
    model.doc_string = str(description["input"]["preprocessing"])


def session_of(model: str | bytes) -> Any:
    """ONNX Runtime with a file, or with its content, on the CPU, with PyTorch's number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: its warnings are about its own optimisations
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class _Session(nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._session = session_of(str(path))

    def forward(self, images: Tensor) -> Tensor:
        (logits,) = self._session.run(["logits"], {"images": images.cpu().numpy()})
        return torch.from_numpy(logits).to(images.device)


def load_onnx(path: Path, network: nn.Module) -> nn.Module:
    """The network of the file in ONNX Runtime, on the CPU; `network` does not matter."""
    return _Session(path)
