"""acu: convolutional networks whose convolution shapes are learned (Active Convolution Units)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acu_core.nn import ActiveConv2d, normalize_positions, parameter_groups
    from acu_core.op import active_conv2d

__all__ = ["ActiveConv2d", "active_conv2d", "normalize_positions", "parameter_groups"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports the operator and the layer when they are first used, so that the command line starts without torch."""
    if name == "active_conv2d":
        from acu_core.op import active_conv2d

        return active_conv2d
    if name in __all__:
        from acu_core import nn

        return getattr(nn, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
