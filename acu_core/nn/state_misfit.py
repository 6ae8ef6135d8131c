"""Why a state dict is not that of a network, in one line."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def state_misfit(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What `state` lacks, has too many, or has of another shape; "" where it fits. One line however much it is."""
    lacking = [key for key in wanted if key not in state]
    foreign = [key for key in state if key not in wanted]
    shapes = [key for key in wanted if key in state and wanted[key].shape != state[key].shape]
    parts = []
    for keys, text in ((lacking, "they lack"), (foreign, "the model has no")):
        if keys:
            parts.append(f"{text} {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else ""))
    if shapes:
        key = shapes[0]
        parts.append(f"the shape of {key} is {tuple(state[key].shape)}, not {tuple(wanted[key].shape)}")
    return ", ".join(parts)
