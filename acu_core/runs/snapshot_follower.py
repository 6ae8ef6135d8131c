"""Reads `positions.bin` while it grows: by ordinary reads, since a map of a file that is cut kills the process."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from acu_core.errors import UserError
from acu_core.runs.regular_file import open_regular
from acu_core.runs.snapshot_header import LayerEntry, SnapshotHeader, TrainingFacts, TruncatedHeaderError, read_header


@dataclass(frozen=True)
class Snapshots:
    """Some snapshots that are whole: iterations (T,), positions (T, P, 2) in (y, x).

    The P synapses are those of all layers, one layer and group after the other.
    """

    iterations: npt.NDArray[np.int64]
    positions: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.iterations)


class SnapshotFollower:
    """The snapshots of a file that may be missing yet, grow, and be cut back when its run is resumed.

    Only what is asked for is read, and checked. `damage` is the sentence about a header that cannot be read;
    `damaged` are the numbers of snapshots that were asked for and are not whole.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._file: tuple[int, int] | None = None
        self._size = self._changed = self._start = self._count = 0
        self._header: SnapshotHeader | None = None
        self._kind: np.dtype[np.void] = np.dtype([("crc32", "<u4")])
        self._end = b""
        self.damage: str | None = None
        self.damaged: set[int] = set()

    @property
    def layers(self) -> tuple[LayerEntry, ...]:
        """The layers in the order of the network; none while there is no header."""
        return () if self._header is None else self._header.layers

    @property
    def facts(self) -> TrainingFacts:
        """What the header says of the training."""
        return (None if self._header is None else self._header.facts) or TrainingFacts()

    @property
    def has_begun(self) -> bool:
        """Whether there is a header."""
        return self._header is not None

    def __len__(self) -> int:
        """Snapshots in the file when it was last looked at."""
        return self._count

    @property
    def last_iteration(self) -> int:
        """The iteration of the last snapshot when the file was last looked at; 0 where there is none."""
        return int.from_bytes(self._end[:8], "little")

    def poll(self) -> bool:
        """Looks how far the file has come; whether it begins again, so that what was read is of the past."""
        try:
            status = os.stat(self._path)
        except OSError:
            return self._begin(None)
        file = status.st_dev, status.st_ino
        if file == self._file and status.st_size == self._size and status.st_mtime_ns == self._changed:
            return False
        begins = file != self._file or status.st_size < self._size or self.damage is not None
        try:
            with open_regular(self._path) as opened:
                begins = begins or self._end_was_replaced(opened)
                known = self._begin(file) if begins else False
                self._size, self._changed = status.st_size, status.st_mtime_ns
                self._look(opened)
        except FileNotFoundError:
            return self._begin(None)
        except UserError as error:
            known = self._begin(file)
            self.damage = str(error)
            self._size, self._changed = status.st_size, status.st_mtime_ns
        return known

    def read(self, numbers: Sequence[int]) -> Snapshots:
        """The snapshots of these ascending numbers, counted from 0, without those that are damaged or gone."""
        synapses = sum(layer.groups * layer.synapses for layer in self.layers)
        iterations: list[int] = []
        positions: list[npt.NDArray[np.float32]] = []
        if self._header is not None and len(numbers):
            try:
                with open_regular(self._path) as file:
                    for number in numbers:
                        record = self._record(file, number)
                        if record is not None:
                            iterations.append(int(record["iteration"]))
                            parts = [record[f"positions{i}"].reshape(-1, 2) for i in range(len(self.layers))]
                            positions.append(np.concatenate(parts) if parts else np.empty((0, 2), np.float32))
            except (FileNotFoundError, UserError):
                # Gone since it was looked at: the next poll notices.
                pass
        return Snapshots(
            np.array(iterations, np.int64), np.array(positions, np.float32).reshape(len(iterations), synapses, 2)
        )

    def _begin(self, file: tuple[int, int] | None) -> bool:
        """Forgets everything; whether that was anything."""
        known = self._count > 0
        self._file = file
        self._size = self._changed = self._start = self._count = 0
        self._header, self._end = None, b""
        self.damage, self.damaged = None, set()
        return known

    def _look(self, file: BinaryIO) -> None:
        if self._header is None:
            try:
                self._header, self._start = read_header(file, self._path)
            except TruncatedHeaderError:
                # Being written just now.
                return
            self._kind = self._header.record_type
        self._count = (self._size - self._start) // self._kind.itemsize
        if self._count:
            self._end = self._bytes(file, self._count - 1)

    def _end_was_replaced(self, file: BinaryIO) -> bool:
        # Cut, and grown beyond its old length since.
        return self._count > 0 and self._bytes(file, self._count - 1) != self._end

    def _bytes(self, file: BinaryIO, number: int) -> bytes:
        size = self._kind.itemsize
        return os.pread(file.fileno(), size, self._start + number * size)

    def _record(self, file: BinaryIO, number: int) -> np.void | None:
        content = self._bytes(file, number)
        if len(content) < self._kind.itemsize:
            return None
        if zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
            self.damaged.add(number)
            return None
        self.damaged.discard(number)
        record: np.void = np.frombuffer(content, self._kind)[0]
        return record
