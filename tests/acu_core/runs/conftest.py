from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter

ENTRIES = [LayerEntry("conv1/1", 1, 9), LayerEntry('odd, "name"', 2, 4), LayerEntry("conv2", 1, 1)]


def _snapshot(iteration: int) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    numbers = np.random.default_rng(iteration)
    shapes = [(entry.groups, entry.synapses) for entry in ENTRIES]
    positions = [numbers.normal(size=(*shape, 2)).astype(np.float32) for shape in shapes]
    return positions, [numbers.random(size=shape).astype(np.float32) for shape in shapes]


@pytest.fixture
def snapshot() -> Callable[[int], tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]]:
    """Positions and weight norms of three layers at an iteration: one, two and one groups; 9, 4 and 1 synapses."""
    return _snapshot


@pytest.fixture
def shapes_file(tmp_path: Path) -> Path:
    """Those of iterations 0, 5, 10, ... 95, with a warm-up of 20."""
    path = tmp_path / "shapes.bin"
    hidden = np.zeros((1, 9, 2)).tolist()
    with SnapshotWriter.create(path, ENTRIES, TrainingFacts(20, hidden)) as writer:
        for iteration in range(0, 100, 5):
            writer.append(iteration, *_snapshot(iteration))
    return path
