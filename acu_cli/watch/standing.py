"""Where a run stands, as numbers."""

from __future__ import annotations

import math
from typing import Any

from acu_cli.watch.shape_panels import layer_parts, movement
from acu_cli.watch.watch_picture import WatchPicture


def standing(picture: WatchPicture) -> dict[str, Any]:
    """What the picture shows, ready for strict JSON; None where something is not known."""
    run, playback = picture.run, picture.playback
    moved: dict[str, float | None] = {}
    if len(playback.iterations):
        layers = run.snapshots.layers
        found = movement(playback.positions[-1], playback.positions[0], layer_parts(layers))
        moved = {layers[number].name: _finite(found[number]) for number in picture.chosen()}
    return {
        "run": str(run.directory.path),
        "recipe": run.plan.recipe,
        "condition": run.condition.value,
        "iteration": run.iteration,
        "iterations": run.plan.iterations,
        "iterations_done": run.done,
        "iterations_with_twin": run.total,
        "warm_up": run.plan.warm_up,
        "iterations_per_second": run.speed,
        "seconds_left": run.seconds_left,
        "loss": run.log.loss,
        "test_error": run.log.errors[-1] if run.log.errors else None,
        "test_error_iteration": run.log.evaluated[-1] if run.log.evaluated else None,
        "moved_pixels": moved,
        "problems": run.problems,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
