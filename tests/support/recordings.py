"""Recordings that were never trained, to be drawn and packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from acu_core.render.recording import Recording


def restless(snapshots: int, synapses: int, *, step: float, warm_up: int = 0, seed: int = 0) -> npt.NDArray[np.float32]:
    """Positions (T, S, 2) as normalised gradients with a momentum of 0.9 move them when they have no common direction.

    That is the most restless a training can be: each step is up to 10 `step` long, and as likely back as on.
    """
    generator = np.random.default_rng(seed)
    angles = generator.uniform(0, 2 * np.pi, (snapshots, synapses))
    gradients = step * np.stack([np.cos(angles), np.sin(angles)], -1)
    gradients[: warm_up + 1] = 0
    velocity = np.zeros((synapses, 2))
    for gradient in gradients:
        velocity = 0.9 * velocity + gradient
        gradient[:] = velocity
    return np.cumsum(gradients, axis=0).astype(np.float32)


def recording_of(positions: npt.NDArray[np.float32], layers: int = 1, **more: Any) -> Recording:
    """A recording of positions (T, S, 2) in layers of equally many synapses, with norms that wander by 0.1 % a step."""
    count, synapses = positions.shape[:2]
    wander = np.cumsum(np.random.default_rng(1).normal(0, 0.001, (count, synapses)), axis=0)
    norms = np.exp(wander).astype(np.float32)
    each = synapses // layers
    parts = [slice(each * index, each * (index + 1)) for index in range(layers)]
    return Recording(
        more.pop("iterations", np.arange(count)),
        {f"conv{n}": positions[:, part].reshape(count, 1, each, 2) for n, part in enumerate(parts)},
        {f"conv{n}": norms[:, part].reshape(count, 1, each) for n, part in enumerate(parts)},
        more.pop("warm_up", 0),
        None,
        **more,
    )
