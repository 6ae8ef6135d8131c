"""Reads `positions.bin`, also while a run goes on writing it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acu_core.errors import UserError
from acu_core.runs.snapshot_header import LayerEntry, read_header


class SnapshotFile:
    """The snapshots that were whole when the file was opened; later ones need a new SnapshotFile.

    Arrays are views of a memory map: nothing is read before it is used. Copy what must outlive a resumed run, which
    cuts the file back to its last checkpoint.

    A torn end (fewer bytes than a record, or last records whose checksum does not fit, as a power failure leaves them)
    is left out; `ignored_bytes` says how much. Raises UserError for a file that is missing, foreign or has no whole
    header.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                self._header, start = read_header(file, self.path)
                size = file.seek(0, os.SEEK_END)
        except FileNotFoundError as error:
            raise UserError(f"there are no snapshots at {self.path}: has the run been started?") from error
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}") from error
        self._index = {layer.name: index for index, layer in enumerate(self.layers)}
        kind = self._header.record_type
        count = (size - start) // kind.itemsize
        # An empty map is an error for the operating system, a run without snapshots is none for us.
        self._records: npt.NDArray[np.void] = (
            np.memmap(self.path, kind, "r", offset=start, shape=(count,)) if count else np.empty(0, kind)
        )
        while len(self._records) and not self._fits(len(self._records) - 1):
            self._records = self._records[:-1]
        self.ignored_bytes = size - start - len(self._records) * kind.itemsize

    @property
    def layers(self) -> tuple[LayerEntry, ...]:
        """The layers in the order of the network."""
        return self._header.layers

    @property
    def extra(self) -> Mapping[str, Any]:
        """The facts that the writer added, such as `warm_up` and `hidden_positions`."""
        return self._header.extra

    def __len__(self) -> int:
        return len(self._records)

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

    def verify(self) -> None:
        """Reads everything; raises UserError unless every checksum fits and the iterations ascend."""
        for index in range(len(self)):
            if not self._fits(index):
                raise UserError(f"snapshot {index} of {self.path} is damaged: restore the file from a copy")
        iterations = self.iterations
        descents = np.flatnonzero(iterations[1:] <= iterations[:-1])
        if len(descents):
            raise UserError(f"snapshot {descents[0] + 1} of {self.path} is older than the one before it")

    def _layer(self, name: str) -> int:
        try:
            return self._index[name]
        except KeyError:
            raise UserError(f"{self.path} has no layer {name!r}, it has {', '.join(self._index)}") from None

    def _fits(self, index: int) -> bool:
        content = self._records[index].tobytes()
        return zlib.crc32(content[:-4]) == int.from_bytes(content[-4:], "little")
