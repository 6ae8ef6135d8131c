"""The header of `positions.bin`: what the file is, and how its records are laid out.

    offset  bytes  content
    0       8      magic  89 'A' 'C' 'U' 'P' 'O' 'S' 0A (as PNG's: no text starts so, converted line ends show)
    8       4      version, u32
    12      4      n, length of the JSON text in bytes, u32
    16      n      JSON (UTF-8, padded with spaces): "layers", "record_bytes", "extra"
    16+n    4      CRC32 of all bytes before it, u32
    20+n           records, `record_bytes` each

"layers" is a list of {"name", "groups", "synapses"} in the order of the network. "extra" says of the training
"warm_up", the iterations at whose end positions begin to move, and "hidden_positions", the shape that the data were
made with, as a nested list (1 or G, K, 2) in (y, x), or null; a file of positions alone may lack both.

A record is: iteration (u64); for each layer its positions, float32 (G, K, 2) in (y, x), then its weight norms, float32
(G, K); CRC32 of all bytes of the record before it (u32). Every number is little-endian. `n` is chosen so that records
start at a multiple of 8. Iterations ascend and need not be consecutive. Every number is finite unless the training
diverged. Readers check each record before they use it. Neither time nor host is stored: two equal trainings write equal
files.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

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
class TrainingFacts:
    """What the header says of the training: `warm_up` in iterations, `hidden_positions` (1 or G, K, 2) as lists."""

    warm_up: int = 0
    hidden_positions: list[list[list[float]]] | None = None

    def __post_init__(self) -> None:
        if type(self.warm_up) is not int or self.warm_up < 0:
            raise UserError(f"warm_up must be a whole number from 0 on, it is {str(self.warm_up)[:40]}")
        if self.hidden_positions is not None:
            _check_hidden(self.hidden_positions)

    @property
    def hidden(self) -> npt.NDArray[np.float64] | None:
        """The hidden positions (1 or G, K, 2)."""
        return None if self.hidden_positions is None else np.asarray(self.hidden_positions, dtype=np.float64)


@dataclass(frozen=True)
class SnapshotHeader:
    """What `positions.bin` says about itself before its first record."""

    layers: tuple[LayerEntry, ...]
    facts: TrainingFacts | None = None
    """None where nothing is said of a training."""

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
        """The header's bytes. Raises UserError for layers that no reader would accept."""
        _check_layers(self.layers)
        content = {
            "layers": [{"name": e.name, "groups": e.groups, "synapses": e.synapses} for e in self.layers],
            "record_bytes": self.record_type.itemsize,
            "extra": {} if self.facts is None else asdict(self.facts),
        }
        text = json.dumps(content, allow_nan=False, sort_keys=True).encode()
        text += b" " * (-(_PREFIX.size + len(text) + _CHECKSUM.size) % 8)
        head = _PREFIX.pack(MAGIC, VERSION, len(text)) + text
        return head + _CHECKSUM.pack(zlib.crc32(head))


def is_snapshot_file(path: Path) -> bool:
    """Whether the regular file at `path` begins as one of snapshots does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_header(file: BinaryIO, path: Path) -> tuple[SnapshotHeader, int]:
    """The header at the file's start, and its length in bytes. Raises UserError unless it is whole and ours."""
    prefix = file.read(_PREFIX.size)
    if prefix[: len(MAGIC)] != MAGIC[: len(prefix)]:
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
        header = SnapshotHeader(layers, _facts(dict(content["extra"])))
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


def _facts(extra: Mapping[str, Any]) -> TrainingFacts | None:
    if not extra.keys() & {"warm_up", "hidden_positions"}:
        return None
    return TrainingFacts(extra.get("warm_up", 0), extra.get("hidden_positions"))


def _check_hidden(positions: object) -> None:
    try:
        # Of lists of numbers only: NumPy would read numbers off texts too.
        values = np.asarray(positions)
    except ValueError:
        values = np.empty(0)
    if values.dtype.kind not in "fi" or values.ndim != 3 or values.shape[-1] != 2 or not np.isfinite(values).all():
        raise UserError(f"hidden_positions must be finite numbers (G, K, 2), they are {str(positions)[:40]}")


def _check_layers(layers: Sequence[LayerEntry]) -> None:
    names = [entry.name for entry in layers]
    if len(set(names)) != len(names):
        raise UserError(f"layers must have names of their own, got {names}")
    for entry in layers:
        if not entry.name or entry.groups < 1 or entry.synapses < 1:
            raise UserError(f"a layer needs a name, at least one group and at least one synapse, got {entry}")


class TruncatedHeaderError(UserError):
    """The file ends before its header does, as a process that is killed when it begins a run may leave it."""


def _truncated(path: Path) -> UserError:
    return TruncatedHeaderError(
        f"{path} ends inside its header: the run that wrote it was cut off before its first snapshot"
    )
