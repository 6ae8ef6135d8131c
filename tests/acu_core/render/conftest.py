from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter

GRID = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij"), -1).reshape(1, 9, 2)

MakeRecording = Callable[..., Path]


@pytest.fixture
def make_recording(tmp_path: Path) -> MakeRecording:
    """Writes positions that rest during the warm-up and then drift outwards by `drift` pixels."""

    def make(
        layers: int = 2,
        *,
        iterations: int = 200,
        warm_up: int = 40,
        groups: int = 1,
        drift: float = 1.0,
        hidden: list[list[list[float]]] | None = None,
        name: str = "positions.bin",
    ) -> Path:
        names = [f"conv{index}" for index in range(layers)]
        steps = np.arange(iterations + 1)
        share = np.clip((steps - warm_up) / max(1, iterations - warm_up), 0, 1).reshape(-1, 1, 1, 1)
        spread = 1 + 0.1 * np.arange(groups).reshape(1, groups, 1, 1)
        positions = (GRID * (1 + drift * share * spread)).astype(np.float32)
        path = tmp_path / name
        facts = TrainingFacts(warm_up, hidden)
        with SnapshotWriter.create(path, [LayerEntry(n, groups, 9) for n in names], facts) as writer:
            writer.append_block(steps, [positions] * layers, [np.ones(positions.shape[:-1])] * layers)
        return path

    return make
