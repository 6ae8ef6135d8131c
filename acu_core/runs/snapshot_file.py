"""Reads `positions.bin`, also while a run goes on writing it."""

from __future__ import annotations

import os
import zlib
from functools import cached_property
from io import BufferedReader
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acu_core.errors import UserError
from acu_core.runs.regular_file import open_regular
from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts, read_header

_NAMED_RANGES = 5
_READ_BYTES = 1 << 24


class SnapshotFile:
    """The snapshots that were whole when the file was opened; later ones need a new SnapshotFile.

    Arrays are views of a memory map: nothing is read before it is used. A resumed run cuts the file back to its last
    checkpoint, and the system kills a process that then looks at what is gone. So whoever reads a run that others may
    resume takes it `in_memory`: all of it is read at once, as far as it is there. Look at `damaged` before using them.

    A torn end (fewer bytes than a record, or last records whose checksum does not fit, as a power failure leaves them)
    is left out; `ignored_bytes` says how much. Of the rest `damaged` says which records cannot be used. With `length`
    the file is read as if it ended there, and nothing is left out.

    Raises UserError for a file that is missing, foreign, has no whole header, or has no end of a record at `length`.
    """

    def __init__(self, path: str | os.PathLike[str], length: int | None = None, *, in_memory: bool = False) -> None:
        self.path = Path(path)
        try:
            with open_regular(self.path) as file:
                self._header, start = read_header(file, self.path)
                self._start = start
                size = file.seek(0, os.SEEK_END)
                kind = self._header.record_type
                if length is not None:
                    self._check_length(length, size, start, kind.itemsize)
                    size = length
                count = (size - start) // kind.itemsize
                self._records = _read(file, kind, start, count) if in_memory else _map(file, kind, start, count)
        except FileNotFoundError as error:
            raise UserError(f"there are no snapshots at {self.path}: has the run been started?") from error
        self._index = {layer.name: index for index, layer in enumerate(self.layers)}
        while length is None and len(self._records) and not self._fits(len(self._records) - 1):
            self._records = self._records[:-1]
        self.ignored_bytes = size - start - len(self._records) * kind.itemsize

    @property
    def layers(self) -> tuple[LayerEntry, ...]:
        """The layers in the order of the network."""
        return self._header.layers

    @property
    def facts(self) -> TrainingFacts:
        """What the header says of the training."""
        return self._header.facts or TrainingFacts()

    def __len__(self) -> int:
        return len(self._records)

    def length_of(self, count: int) -> int:
        """Length in bytes of the file that ends after its first `count` snapshots."""
        return self._start + count * self._records.dtype.itemsize

    @property
    def iterations(self) -> npt.NDArray[np.uint64]:
        """The iteration of each snapshot, (T,), ascending, not always consecutive."""
        return self._records["iteration"]

    def positions(self, name: str) -> npt.NDArray[np.float32]:
        """Positions of a layer, (T, G, K, 2), last axis (y, x). Raises UserError for a name that is not there."""
        return self._records[f"positions{self._layer(name)}"]

    def weight_norms(self, name: str) -> npt.NDArray[np.float32]:
        """Norm of each synapse's weights in a layer, (T, G, K). Raises UserError for a name that is not there."""
        return self._records[f"weight_norms{self._layer(name)}"]

    @cached_property
    def damaged(self) -> npt.NDArray[np.int64]:
        """The numbers, from 0 on, of the records that cannot be used. Reads everything, once.

        Their checksum does not fit, or their iteration does not come after those of the records before.
        """
        size = self._records.dtype.itemsize
        content = self._records.view(np.uint8).reshape(-1).data if len(self) else memoryview(b"")
        found = (zlib.crc32(content[start : start + size - 4]) for start in range(0, len(content), size))
        good = np.fromiter(found, np.uint32, len(self)) == self._records["crc32"]
        iterations = np.where(good, self.iterations, 0).astype(np.uint64)
        latest = np.maximum.accumulate(iterations) if len(self) else iterations
        good[1:] &= (iterations[1:] > latest[:-1]) | ~np.logical_or.accumulate(good)[:-1]
        return np.flatnonzero(~good)

    def verify(self) -> None:
        """Reads everything; raises UserError that names the snapshots that cannot be used, if there are any."""
        if len(self.damaged):
            raise UserError(f"{self.describe_damage()}: restore the file from a copy")

    def describe_damage(self) -> str:
        """Which snapshots are damaged, as a phrase."""
        numbers = self.damaged
        breaks = np.flatnonzero(np.diff(numbers) > 1) + 1
        ranges = [(int(part[0]), int(part[-1])) for part in np.split(numbers, breaks)]
        texts = [f"{first}" if first == last else f"{first} to {last}" for first, last in ranges[:_NAMED_RANGES]]
        rest = f" and {len(ranges) - _NAMED_RANGES} more places" if len(ranges) > _NAMED_RANGES else ""
        return (
            f"{len(numbers)} of {len(self)} snapshots of {self.path} are damaged (number {', '.join(texts)}{rest}, "
            "counted from 0)"
        )

    def _check_length(self, length: int, size: int, start: int, record_bytes: int) -> None:
        if size < length:
            raise UserError(
                f"{self.path} has {size} bytes, the checkpoint was saved with {length}: the file was shortened since, "
                "restore it from a copy or start a new run"
            )
        if length < start or (length - start) % record_bytes:
            raise UserError(f"{self.path} has no end of a snapshot at byte {length}: it is not this checkpoint's")

    def _layer(self, name: str) -> int:
        try:
            return self._index[name]
        except KeyError:
            raise UserError(f"{self.path} has no layer {name!r}, it has {', '.join(self._index)}") from None

    def _fits(self, index: int) -> bool:
        content = self._records[index].tobytes()
        return zlib.crc32(content[:-4]) == int.from_bytes(content[-4:], "little")


def _map(file: BufferedReader, kind: np.dtype[np.void], start: int, count: int) -> npt.NDArray[np.void]:
    # An empty map is an error for the operating system, a run without snapshots is none for us.
    return np.memmap(file, kind, "r", offset=start, shape=(count,)) if count else np.empty(0, kind)


def _read(file: BufferedReader, kind: np.dtype[np.void], start: int, count: int) -> npt.NDArray[np.void]:
    """The records, as many of them as are still there when they are read."""
    records = np.empty(count, kind)
    file.seek(start)
    wanted = records.view(np.uint8).data if count else memoryview(b"")
    read = 0
    while read < len(wanted) and (more := file.readinto(wanted[read : read + _READ_BYTES])):
        read += more
    return records[: read // kind.itemsize]
