"""Recordings to draw, made of sines, so that every version of numpy makes the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acu_core.render.recording import Recording
from acu_core.render.training_curve import TrainingCurve

GRID = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij"), -1).reshape(1, 9, 2)
RESIDUAL = ["conv0"] + [f"block{s}_{b}.body.conv{c}" for s in (1, 2, 3) for b in range(1, 6) for c in (1, 2)]


def drawn_run(
    layers: Sequence[str] = ("conv1", "conv2"),
    *,
    iterations: Sequence[int] | np.ndarray = range(0, 2010, 10),
    warm_up: int = 400,
    groups: int = 1,
    phase: float = 0.0,
    curve: bool = True,
    title: str = "a run",
    hidden: bool = False,
) -> Recording:
    """Synapses that rest during the warm-up and then wander, each its own way; the centre stays."""
    steps = np.asarray(iterations, np.int64)
    first, last = int(steps[0]), int(steps[-1])
    share = np.sqrt(np.clip((steps - warm_up) / max(1, last - warm_up), 0, 1)).reshape(-1, 1, 1, 1)
    positions, norms = {}, {}
    for number, name in enumerate(layers):
        seed = phase + 3.1 * number + np.arange(groups * 18).reshape(1, groups, 9, 2)
        way = 0.7 * np.sin(5.3 * seed) * share + 0.12 * np.sin(9 * share + seed) * share
        way[:, :, 4] = 0
        positions[name] = (GRID + way).astype(np.float32)
        size = 1 + 0.25 * np.sin(2.9 * seed[..., 0]) * share[..., 0]
        norms[name] = (3 * size).astype(np.float32)
    evaluated = np.linspace(first + (last - first) / 8, last, 8).astype(np.int64)
    errors = 80 * np.exp(-np.arange(8) / 3.0) + 6 + phase
    drops = np.array([first + (last - first) * 3 // 4], np.int64)
    return Recording(
        steps,
        positions,
        norms,
        warm_up,
        1.4 * GRID if hidden else None,
        TrainingCurve(evaluated, errors, drops) if curve else None,
        title,
    )
