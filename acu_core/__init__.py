"""acu: convolutional networks whose convolution shapes are learned (Active Convolution Units).

The public names of the library. The packages below export nothing by themselves: a module is imported by its name, and
nothing before it is needed. So recipes are checked without PyTorch, and processes that decode images start without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
    from acu_core.nn.conversion import from_conv2d, to_conv2d
    from acu_core.nn.optimization import normalize_positions, parameter_groups
    from acu_core.nn.receptive_field import receptive_field
    from acu_core.op.functional import active_conv2d
    from acu_core.op.reference import active_conv2d_reference
    from acu_core.runs.shapes import read_shapes
    from acu_core.train.shape_recorder import ShapeRecorder

_MODULES = {
    "ActiveConv2d": "acu_core.nn.active_conv2d",
    "ShapeRecorder": "acu_core.train.shape_recorder",
    "active_conv2d": "acu_core.op.functional",
    "active_conv2d_reference": "acu_core.op.reference",
    "active_layers": "acu_core.nn.active_conv2d",
    "from_conv2d": "acu_core.nn.conversion",
    "normalize_positions": "acu_core.nn.optimization",
    "parameter_groups": "acu_core.nn.optimization",
    "read_shapes": "acu_core.runs.shapes",
    "receptive_field": "acu_core.nn.receptive_field",
    "to_conv2d": "acu_core.nn.conversion",
}
__all__ = [
    "ActiveConv2d",
    "ShapeRecorder",
    "active_conv2d",
    "active_conv2d_reference",
    "active_layers",
    "from_conv2d",
    "normalize_positions",
    "parameter_groups",
    "read_shapes",
    "receptive_field",
    "to_conv2d",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports the module of a public name when it is first used."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
