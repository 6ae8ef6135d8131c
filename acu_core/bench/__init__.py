"""How fast the operator and the training are, beside what they would replace, in one process and in random order."""

from __future__ import annotations

from acu_core.bench.contestants import SHAPES, Shape, left_out
from acu_core.bench.operator_bench import OperatorRow, measure_operator
from acu_core.bench.timing import Timing
from acu_core.bench.training_bench import measure_training, recipes_to_time

__all__ = [
    "SHAPES",
    "OperatorRow",
    "Shape",
    "Timing",
    "left_out",
    "measure_operator",
    "measure_training",
    "recipes_to_time",
]
