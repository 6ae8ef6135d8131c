"""A network's active layers by the names that they have in the network itself, whatever it is wrapped in."""

from __future__ import annotations

from torch import nn

from acu_core.nn.active_conv2d import ActiveConv2d, active_layers

_WRAPPED = frozenset({"module", "_orig_mod"})
"""What DistributedDataParallel, DataParallel and averaged models, and `torch.compile`, call the network inside."""


def unwrapped_layers(model: nn.Module) -> dict[str, ActiveConv2d]:
    """`active_layers` without the `module.` and `_orig_mod.` of wrappers, nested in any order and at any depth.

    A layer that is the whole network bears the name of its class. A module of the network's own that is called so keeps
    its name, unless it is the only one in its parent, as a wrapped network is.
    """
    return {_unwrapped(model, name) or type(layer).__name__: layer for name, layer in active_layers(model).items()}


def _unwrapped(model: nn.Module, name: str) -> str:
    kept = []
    module = model
    for part in name.split(".") if name else []:
        children = module._modules
        if part not in _WRAPPED or len(children) > 1:
            kept.append(part)
        module = children[part]  # type: ignore[assignment]
    return ".".join(kept)
