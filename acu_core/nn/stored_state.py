"""The state dict of a model in a file, as its training left it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from acu_core.errors import UserError
from acu_core.nn.state_misfit import state_misfit


def read_state(path: Path) -> Mapping[str, Any]:
    """The tensors of a file that torch.save wrote, or of a .safetensors file. Raises UserError when it holds none."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file can fail anywhere in the loaders
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} cannot be read as a state dict ({type(error).__name__}: {reason})") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is not a state dict, tensors by name: save model.state_dict() with torch.save")
    return state


def check_finite(state: Mapping[str, Tensor], name: str, source: str) -> None:
    """Raises UserError when a weight of `source`, meant for the model `name`, is not finite."""
    if not all(bool(torch.isfinite(value).all()) for value in state.values() if value.is_floating_point()):
        raise UserError(f"the weights {source} are not all finite: take others for {name}")


def load_state(model: nn.Module, state: Mapping[str, Any], name: str, source: str) -> None:
    """Loads a state dict from `source`. Raises UserError that says what does not fit the model `name`."""
    try:
        model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        misfit = state_misfit(model.state_dict(), state) or str(error)
        raise UserError(f"the weights {source} do not fit {name}: {misfit}") from error
