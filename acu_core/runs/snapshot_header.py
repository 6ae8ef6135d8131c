"""The header of `positions.bin`: what the file is, and how its records are laid out.

    offset  bytes  content
    0       8      magic  89 'A' 'C' 'U' 'P' 'O' 'S' 0A (as PNG's: no text starts so, converted line ends show)
    8       4      version, u32
    12      4      n, length of the JSON text in bytes, u32
    16      n      JSON (UTF-8, padded with spaces): "layers", "record_bytes", "extra"
    16+n    4      CRC32 of all bytes before it, u32
    20+n           records, `record_bytes` each

A record is: iteration (u64); for each layer its positions, float32 (G, K, 2) in (y, x), then its weight norms, float32
(G, K); CRC32 of all bytes of the record before it (u32). Every number is little-endian. `n` is chosen so that records
start at a multiple of 8. Neither time nor host is stored: two equal trainings write equal files.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from acu_core.errors import UserError

MAGIC = b"\x89ACUPOS\n"
VERSION = 1
_PREFIX = struct.Struct("<8sII")
_CHECKSUM = struct.Struct("<I")
# A thousand layers take about 60 kB of JSON; the limit keeps a foreign file from asking for gigabytes.
_LARGEST_JSON = 1 << 26


@dataclass(frozen=True)
class LayerEntry:
    """A layer's name and the sizes of its positions, (groups, synapses, 2)."""

    name: str
    groups: int
    synapses: int


@dataclass(frozen=True)
class SnapshotHeader:
    """What `positions.bin` says about itself before its first record."""

    layers: tuple[LayerEntry, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def record_type(self) -> np.dtype[np.void]:
        """One record: fields `iteration`, `positions<i>` (G, K, 2), `weight_norms<i>` (G, K), `crc32`."""
        fields: list[tuple[str, Any] | tuple[str, Any, tuple[int, ...]]] = [("iteration", "<u8")]
        for index, layer in enumerate(self.layers):
            fields.append((f"positions{index}", "<f4", (layer.groups, layer.synapses, 2)))
            fields.append((f"weight_norms{index}", "<f4", (layer.groups, layer.synapses)))
        fields.append(("crc32", "<u4"))
        return np.dtype(fields)

    def encode(self) -> bytes:
        """The header's bytes. Raises UserError for layers or extras that no reader would accept."""
        _check_layers(self.layers)
        content = {
            "layers": [{"name": e.name, "groups": e.groups, "synapses": e.synapses} for e in self.layers],
            "record_bytes": self.record_type.itemsize,
            "extra": dict(self.extra),
        }
        try:
            text = json.dumps(content, allow_nan=False, sort_keys=True).encode()
        except (TypeError, ValueError) as error:
            raise UserError(f"the extra facts of a snapshot file must be plain finite JSON values: {error}") from error
        text += b" " * (-(_PREFIX.size + len(text) + _CHECKSUM.size) % 8)
        head = _PREFIX.pack(MAGIC, VERSION, len(text)) + text
        return head + _CHECKSUM.pack(zlib.crc32(head))


def read_header(file: BinaryIO, path: Path) -> tuple[SnapshotHeader, int]:
    """The header at the file's start, and its length in bytes. Raises UserError unless it is whole and ours."""
    prefix = file.read(_PREFIX.size)
    if not prefix or prefix[: len(MAGIC)] != MAGIC[: len(prefix)]:
        raise UserError(f"{path} is not a snapshot file (positions.bin) of acu: it starts with {prefix[:8]!r}")
    if len(prefix) < _PREFIX.size:
        raise _truncated(path)
    _, version, length = _PREFIX.unpack(prefix)
    if version != VERSION:
        raise UserError(
            f"{path} has format version {version}, this acu reads version {VERSION}: use the acu that wrote it"
        )
    if length > _LARGEST_JSON:
        raise UserError(f"the header of {path} is damaged: it claims {length} bytes")
    text = file.read(length)
    checksum = file.read(_CHECKSUM.size)
    if len(text) < length or len(checksum) < _CHECKSUM.size:
        raise _truncated(path)
    if _CHECKSUM.unpack(checksum)[0] != zlib.crc32(prefix + text):
        raise UserError(f"the header of {path} is damaged: its checksum does not fit; restore the file from a copy")
    return _decode(text, path), len(prefix) + length + _CHECKSUM.size


def _decode(text: bytes, path: Path) -> SnapshotHeader:
    # The checksum fits, so what is wrong from here on was written by another program.
    try:
        content = json.loads(text)
        layers = tuple(LayerEntry(str(e["name"]), int(e["groups"]), int(e["synapses"])) for e in content["layers"])
        header = SnapshotHeader(layers, dict(content["extra"]))
        _check_layers(layers)
        record_bytes, expected = int(content["record_bytes"]), header.record_type.itemsize
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"the header of {path} is not what acu writes: {error}") from error
    if record_bytes != expected:
        raise UserError(
            f"the header of {path} contradicts itself: its layers make records of {expected} bytes, "
            f"it says {record_bytes}"
        )
    return header


def _check_layers(layers: Sequence[LayerEntry]) -> None:
    names = [entry.name for entry in layers]
    if len(set(names)) != len(names):
        raise UserError(f"layers must have names of their own, got {names}")
    for entry in layers:
        if not entry.name or entry.groups < 1 or entry.synapses < 1:
            raise UserError(f"a layer needs a name, at least one group and at least one synapse, got {entry}")


def _truncated(path: Path) -> UserError:
    return UserError(f"{path} ends inside its header: the run that wrote it was cut off before its first snapshot")
