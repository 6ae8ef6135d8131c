"""A run without a training, for what reads and draws runs: shapes that wander as those of a network do."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from acu_core.runs.json_lines import LogWriter
from acu_core.runs.metrics import EvaluationRecord, TrainingRecord
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter

_BLOCK = 4096
_IMAGES = 10_000
# Of the whole: the positions wait, then the learning rate falls twice, as in the paper.
_WARM_UP, _DROPS = 10 / 64, (32 / 64, 48 / 64)
_EVALUATIONS = 128


def make_up_run(path: str | os.PathLike[str], *, iterations: int, layers: int, seed: int = 0) -> RunDirectory:
    """A run of as many iterations, each with a snapshot of `layers` layers of nine synapses and a training record."""
    run = RunDirectory.create(path, "", {})
    generator = np.random.default_rng(seed)
    steps = np.arange(iterations + 1)
    warm_up = round(_WARM_UP * iterations)
    rates = np.float_power(0.1, (1.0 + np.searchsorted([round(drop * iterations) + 0.5 for drop in _DROPS], steps)))
    _write_snapshots(run, steps, rates, warm_up, layers, generator)
    every = max(1, iterations // _EVALUATIONS)
    with LogWriter(run.metrics) as log:
        for step in range(1, iterations + 1):
            loss, accuracy = generator.random(2).tolist()
            rate = float(rates[step])
            log.append(TrainingRecord(step, loss, accuracy, rate, 0.01 * rate if step > warm_up else 0.0).entry())
            if step % every == 0:
                errors = round(_IMAGES * (0.08 + 0.6 * 0.97 ** (step / every) + 0.01 * loss))
                right = (_IMAGES - errors) / _IMAGES
                log.append(EvaluationRecord(step, loss, right, errors, _IMAGES).entry())
    return run


def _write_snapshots(
    run: RunDirectory,
    steps: npt.NDArray[np.int64],
    rates: npt.NDArray[np.float64],
    warm_up: int,
    layers: int,
    generator: np.random.Generator,
) -> None:
    grid = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij"), -1).reshape(1, 9, 2)
    learned = np.any(grid != 0, axis=-1, keepdims=True)
    # Far from the end the pace is that of the learning rate; everything comes about a pixel and a half far.
    pace = np.where(steps > warm_up, rates, 0.0)
    pace /= max(float(pace.sum()), 1e-12)
    way = np.cumsum(pace)
    aims = generator.normal(size=(layers, 1, 9, 2))
    turns = generator.uniform(1, 4, size=(layers, 1, 9, 2))
    entries = [LayerEntry(f"stage{1 + layer // 8}.conv{1 + layer % 8}", 1, 9) for layer in range(layers)]
    with SnapshotWriter.create(run.positions, entries, TrainingFacts(warm_up)) as writer:
        for start in range(0, len(steps), _BLOCK):
            part = slice(start, start + _BLOCK)
            share = way[part].reshape(-1, 1, 1, 1)
            jitter = 2e-3 * (pace[part] > 0).reshape(-1, 1, 1, 1)
            positions, norms = [], []
            for aim, turn in zip(aims, turns, strict=True):
                noise = jitter * generator.normal(size=(len(share), 1, 9, 2))
                moved = aim * share + 0.4 * np.sin(turn * np.pi * share) + noise
                positions.append(grid + np.where(learned, moved, 0.0))
                norms.append(1 + 0.5 * np.abs(aim[..., 0]) * share[..., 0])
            writer.append_block(steps[part], positions, norms)
