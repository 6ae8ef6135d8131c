"""Writes `positions.bin`, record by record."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from acu_core.durable import AppendOnlyFile
from acu_core.errors import UserError
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.snapshot_header import LayerEntry, SnapshotHeader, TrainingFacts


class SnapshotWriter:
    """Appends snapshots; each is in the file, for readers to see, when `append` returns.

    Get one by `create` (a new file) or `open_for_append` (going on with an old one).
    """

    def __init__(self, file: AppendOnlyFile, header: SnapshotHeader, last_iteration: int) -> None:
        self._file = file
        self._header = header
        self._record_type = header.record_type
        self._last_iteration = last_iteration
        self.last_positions: list[npt.NDArray[np.float32]] = []
        """Those of the last snapshot, (G, K, 2) for each layer, when the file was opened; none in a new file."""

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        layers: Sequence[LayerEntry],
        facts: TrainingFacts | None = None,
        *,
        replace: bool = False,
    ) -> SnapshotWriter:
        """A new file with a header and no snapshot. An existing file is a UserError, unless `replace`."""
        path = Path(path)
        header = SnapshotHeader(tuple(layers), facts)
        content = header.encode()
        try:
            file = AppendOnlyFile.create(path, replace=replace)
        except FileExistsError as error:
            raise UserError(f"{path} exists already and is not overwritten: choose another run directory") from error
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        try:
            file.append(content)
        except BaseException:
            file.close()
            # An empty file would be refused by the next one that begins here.
            if not replace:
                path.unlink(missing_ok=True)
            raise
        return cls(file, header, last_iteration=-1)

    @classmethod
    def open_for_append(cls, path: str | os.PathLike[str], length_in_bytes: int) -> SnapshotWriter:
        """Goes on with a file after its first `length_in_bytes`, the `length` that a checkpoint has kept.

        The rest is cut off by `cut`, or by the first append. Raises UserError, and then cuts nothing, when the file is
        shorter, the length is not between two records, or a record before it is damaged.
        """
        path = Path(path)
        if not path.exists():
            raise UserError(f"{path} is missing: the run cannot go on without its snapshots")
        kept = SnapshotFile(path, length_in_bytes)
        kept.verify()
        last_iteration = int(kept.iterations[-1]) if len(kept) else -1
        # Copied: the map is of what may be cut.
        last = [np.array(kept.positions(layer.name)[-1]) for layer in kept.layers] if len(kept) else []
        try:
            file = AppendOnlyFile.open(path, length_in_bytes)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        writer = cls(file, SnapshotHeader(kept.layers, kept.facts), last_iteration)
        writer.last_positions = last
        return writer

    @property
    def layers(self) -> tuple[LayerEntry, ...]:
        """The layers in the order in which `append` takes their positions."""
        return self._header.layers

    @property
    def last_iteration(self) -> int:
        """The iteration of the last snapshot; -1 where there is none."""
        return self._last_iteration

    def cut(self) -> None:
        """Cuts off what lies beyond `length`."""
        self._file.cut()

    @property
    def length(self) -> int:
        """Length of the file in bytes, always at a record's end: what a checkpoint keeps for `open_for_append`."""
        return self._file.length

    def append(self, iteration: int, positions: Sequence[npt.ArrayLike], weight_norms: Sequence[npt.ArrayLike]) -> None:
        """Appends one snapshot: for each layer positions (G, K, 2) and weight norms (G, K). Iterations must ascend."""
        self.append_block(
            [iteration], [np.asarray(p)[None] for p in positions], [np.asarray(n)[None] for n in weight_norms]
        )

    def append_block(
        self,
        iterations: Sequence[int] | npt.NDArray[np.integer[Any]],
        positions: Sequence[npt.ArrayLike],
        weight_norms: Sequence[npt.ArrayLike],
    ) -> None:
        """Appends T snapshots in one write: iterations (T,), for each layer positions (T, G, K, 2) and norms (T, G, K).

        Raises ValueError, and writes nothing, for shapes other than the header's and iterations that do not ascend.
        """
        steps = np.asarray(iterations, dtype=np.int64)
        if steps.ndim != 1:
            raise ValueError(f"iterations must have shape (T,), got {steps.shape}")
        if not steps.size:
            return
        if int(steps[0]) <= self._last_iteration or np.any(np.diff(steps) <= 0):
            raise ValueError(f"iterations must ascend: after {self._last_iteration} came {steps.tolist()[:8]}")
        if len(positions) != len(self.layers) or len(weight_norms) != len(self.layers):
            raise ValueError(
                f"there are {len(self.layers)} layers, got positions of {len(positions)} and weight norms of "
                f"{len(weight_norms)}"
            )
        records = np.zeros(len(steps), self._record_type)
        records["iteration"] = steps
        for index, layer in enumerate(self.layers):
            shape = (len(steps), layer.groups, layer.synapses)
            records[f"positions{index}"] = _checked(positions[index], (*shape, 2), f"positions of {layer.name}")
            records[f"weight_norms{index}"] = _checked(weight_norms[index], shape, f"weight norms of {layer.name}")
        covered = self._record_type.itemsize - 4
        as_bytes = records.view(np.uint8).reshape(len(steps), -1)
        records["crc32"] = [zlib.crc32(row[:covered].data) for row in as_bytes]
        self._file.append(records.tobytes())
        self._last_iteration = int(steps[-1])

    def sync(self) -> None:
        """Returns when all snapshots are on the disk: before a checkpoint that keeps `length`."""
        self._file.sync()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> SnapshotWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked(values: npt.ArrayLike, shape: tuple[int, ...], name: str) -> npt.NDArray[Any]:
    array = np.asarray(values)
    # Assignment to a field would broadcast a wrong shape without a word.
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return array
