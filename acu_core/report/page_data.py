"""What the page's script draws, as one JSON object."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from acu_core.render.frame_schedule import gaps
from acu_core.render.recording import Recording
from acu_core.report.packed_recording import PackedRecording
from acu_core.report.training_loss import TrainingLoss

_MOST_ERRORS = 1000


def page_data(recording: Recording, packed: PackedRecording, loss: TrainingLoss | None) -> dict[str, Any]:
    """The object. Its keys are named as the script names them."""
    first, last = int(recording.iterations[0]), int(recording.iterations[-1])
    drops = [] if recording.curve is None else [int(n) for n in recording.curve.drops if first < n <= last]
    return {
        "layers": [
            {"name": name, "groups": values.shape[1], "synapses": values.shape[2]}
            for name, values in recording.positions.items()
        ],
        "series": packed.series,
        "positionStep": packed.position_step,
        "normStep": packed.norm_step,
        "warmUp": recording.warm_up,
        "drops": drops,
        # The snapshots after which nothing was recorded for long.
        "gaps": np.flatnonzero(gaps(recording.iterations)).tolist(),
        "hidden": None if recording.hidden is None else recording.hidden.tolist(),
        "errors": _errors(recording, first, last),
        "loss": None if loss is None else _loss(loss),
        "packed": base64.b64encode(packed.content).decode(),
    }


def script_json(value: Mapping[str, Any]) -> str:
    """JSON that may stand inside `<script>`: a text that says `</script>` or `<!--` does not end it."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def error_stride(count: int) -> int:
    """Of so many evaluations every which one is drawn, counted back from the last."""
    return -(-count // _MOST_ERRORS)


def _errors(recording: Recording, first: int, last: int) -> dict[str, Any] | None:
    if recording.curve is None:
        return None
    inside = (recording.curve.iterations >= first) & (recording.curve.iterations <= last)
    iterations, errors = recording.curve.iterations[inside], recording.curve.errors[inside]
    if not len(iterations):
        return None
    stride = error_stride(len(iterations))
    shown = slice((len(iterations) - 1) % stride, None, stride)
    return {"iterations": iterations[shown].tolist(), "values": _short(errors[shown])}


def _loss(loss: TrainingLoss) -> dict[str, Any]:
    return {
        "per": loss.per,
        "iterations": loss.last.tolist(),
        "values": _short(loss.mean),
        "low": _short(loss.low),
        "high": _short(loss.high),
    }


def _short(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
