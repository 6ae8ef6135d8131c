"""Reads a `.caffemodel` into layers with arrays; knows no network."""

from __future__ import annotations

import hashlib
import math
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acu_core.caffe.schema import parse
from acu_core.errors import UserError

# The largest network of the paper's plain family has 7 MB. What a file of this size can unfold to stays harmless.
LARGEST_FILE = 1 << 24
LARGEST_LAYERS = 1000
LARGEST_BLOBS = 8
_LARGEST_TABLE = 4096
_LARGEST_AXES = 8


@dataclass(frozen=True)
class CaffeLayer:
    """A layer: its arrays, and the encoded tables that say how it computes (`schema.parse` reads those)."""

    name: str
    type: str
    bottom: tuple[str, ...]
    top: tuple[str, ...]
    blobs: tuple[npt.NDArray[np.float32], ...]
    convolution_param: bytes = b""
    pooling_param: bytes = b""
    relu_param: bytes = b""
    batch_norm_param: bytes = b""


@dataclass(frozen=True)
class Caffemodel:
    """A file: where it came from, the SHA-256 of its bytes, the name of its network, its layers."""

    path: Path
    sha256: str
    name: str
    layers: tuple[CaffeLayer, ...]


def read_caffemodel(path: Path) -> Caffemodel:
    """Reads the file at `path`; nothing of it is executed, and it takes memory and time in proportion to its size.

    Raises UserError, one sentence that names the file, for one that is missing, damaged, foreign, in Caffe's old
    format, or too large.
    """
    content = _read(path)
    net = parse("NetParameter", content)
    if net is None:
        raise UserError(f"{path} is not a Caffe network, or only a part of one: give a whole .caffemodel")
    if len(net.layers):
        raise UserError(
            f"{path} is in Caffe's old format (V1 'layers'): convert it by Caffe's upgrade_net_proto_binary first"
        )
    if not len(net.layer):
        raise UserError(f"{path} is not a Caffe network, it has no layers: give a .caffemodel")
    if len(net.layer) > LARGEST_LAYERS:
        raise UserError(f"{path} has {len(net.layer)} layers, more than the {LARGEST_LAYERS} that are read")
    layers = tuple(_layer(path, index, encoded) for index, encoded in enumerate(net.layer))
    return Caffemodel(path, hashlib.sha256(content).hexdigest(), _text(net.name), layers)


def quoted(text: str) -> str:
    """A name from a file, fit for one line of an error."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _read(path: Path) -> bytes:
    try:
        facts = path.stat()
        # Asked first: opening a pipe waits for its writer.
        if not stat.S_ISREG(facts.st_mode):
            raise UserError(f"{path} is not a file: give a .caffemodel")
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}: give a .caffemodel") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a .caffemodel") from error
    except ValueError as error:
        # A null character in a name, for one; UserError is a ValueError too.
        if isinstance(error, UserError):
            raise
        raise UserError(f"{str(path)!r} cannot be read ({error}): give a .caffemodel") from error
    if len(content) > LARGEST_FILE:
        raise UserError(
            f"{path} has more than {LARGEST_FILE >> 20} MiB, more than any of the networks that can be imported"
        )
    if not content:
        raise UserError(f"{path} is empty: give a .caffemodel")
    return content


def _layer(path: Path, index: int, encoded: bytes) -> CaffeLayer:
    layer = parse("LayerParameter", encoded)
    if layer is None:
        raise UserError(f"layer {index} of {path} is damaged: get the file again")
    name = _text(layer.name)
    tables = {
        table: getattr(layer, table)
        for table in ("convolution_param", "pooling_param", "relu_param", "batch_norm_param")
    }
    sizes = [len(layer.blobs) > LARGEST_BLOBS, len(layer.bottom) > LARGEST_BLOBS, len(layer.top) > LARGEST_BLOBS]
    if any(sizes) or any(len(table) > _LARGEST_TABLE for table in tables.values()):
        raise UserError(f"layer {quoted(name)} of {path} holds more than a layer of Caffe does: get the file again")
    return CaffeLayer(
        name,
        _text(layer.type),
        tuple(_text(blob) for blob in layer.bottom),
        tuple(_text(blob) for blob in layer.top),
        tuple(_blob(f"blob {number} of layer {quoted(name)} of {path}", b) for number, b in enumerate(layer.blobs)),
        **tables,
    )


def _blob(what: str, encoded: bytes) -> npt.NDArray[np.float32]:
    blob = parse("BlobProto", encoded)
    if blob is None:
        raise UserError(f"{what} is damaged: get the file again")
    dimensions = _dimensions(blob.shape)
    if dimensions is None:
        raise UserError(f"{what} has no usable shape: get the file again")
    stored = blob.data if len(blob.data) else blob.double_data
    # Compared as integers of any size, before anything is allocated.
    if math.prod(dimensions) != len(stored):
        raise UserError(f"{what} has {len(stored)} values for the shape {dimensions}: get the file again")
    with np.errstate(over="ignore"):
        values: npt.NDArray[np.float32] = np.fromiter(stored, np.float64, len(stored)).astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{what} holds a value that is not a finite number: get the file again")
    return values.reshape(dimensions)


def _dimensions(encoded: bytes) -> tuple[int, ...] | None:
    if len(encoded) > _LARGEST_TABLE:
        return None
    shape: Any = parse("BlobShape", encoded)
    if shape is None or not 1 <= len(shape.dim) <= _LARGEST_AXES or min(shape.dim) < 1:
        return None
    return tuple(int(size) for size in shape.dim)


def _text(encoded: bytes) -> str:
    return encoded.decode(errors="replace")
