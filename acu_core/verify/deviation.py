"""How far results are from what they should be, and how far they may be: the tolerances of the tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from acu_core.op.reference import active_conv2d_reference
from acu_core.verify.case import Case, Results, Tensors

SMALLEST_SCALE = 1e-3
"""The size of a typical element, where all that are expected cancel to nearly nothing."""
EXACT = {torch.float32: 1e-5, torch.float64: 1e-11}
"""Of the norm, where the sums are kept in the dtype of the results or a wider one."""
STORED = {torch.float16: 1e-2, torch.bfloat16: 6e-2}
"""Of the largest number, where what is summed was itself rounded to 16 bits, as on CUDA."""


@dataclass(frozen=True)
class Deviation:
    """The error that comes nearest to what is allowed, or goes furthest beyond it; both relative to what is right."""

    error: float
    allowed: float
    where: str = ""

    @property
    def passes(self) -> bool:
        """Whether it is allowed; what is not finite never is."""
        return self.error <= self.allowed

    @property
    def share(self) -> float:
        """Of what is allowed, so that errors of several dtypes can be compared."""
        if not math.isfinite(self.error):
            return math.inf
        return self.error / self.allowed if self.allowed > 0 else (math.inf if self.error > 0 else 0.0)


NOTHING = Deviation(0.0, 0.0)


def worst(deviations: Iterable[Deviation]) -> Deviation:
    """The one with the largest share."""
    return max(deviations, key=lambda deviation: deviation.share, default=NOTHING)


def deviation(case: Case, tensors: Tensors, actual: Results, expected: Results) -> Deviation:
    """The worst of the five results of a call on `tensors` (CPU), each named after its case."""
    on_cuda = actual.output.device.type == "cuda"
    dtype = tensors.input.dtype
    sizes: list[Results] = []

    def size_of(name: str) -> Tensor:
        if not sizes:
            sizes.append(summed_sizes(case, tensors))
        result: Tensor = getattr(sizes[0], name)
        return result

    found = []
    for name, result, correct in zip(Results._fields, actual, expected, strict=True):
        wanted = tensors.positions.dtype if name == "positions" else dtype
        where = f"{case.name}: {'output' if name == 'output' else f'gradient of {name}'}"
        if result.dtype != wanted or result.shape != correct.shape:
            found.append(Deviation(math.inf, 0.0, f"{where}, dtype or shape"))
        elif on_cuda and dtype in STORED:
            found.append(_by_largest(result.cpu(), correct, STORED[dtype], where))
        else:
            found.append(_by_norm(result.cpu(), correct, dtype, lambda name=name: size_of(name), where))  # type: ignore[misc]
    return worst(found)


def _by_largest(actual: Tensor, correct: Tensor, tolerance: float, where: str) -> Deviation:
    if correct.numel() == 0:
        return Deviation(0.0, tolerance, where)
    scale = max(float(correct.abs().max()), SMALLEST_SCALE)
    return Deviation(float((actual.double() - correct).abs().max()) / scale, tolerance, where)


def _by_norm(actual: Tensor, correct: Tensor, dtype: torch.dtype, sizes: Callable[[], Tensor], where: str) -> Deviation:
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    tolerance = EXACT[computed]
    if actual.dtype in STORED:
        # Computed in float32 and rounded once, by half a step at most.
        tolerance += torch.finfo(actual.dtype).eps / 2
    norm = float(correct.norm())
    scale = max(norm, SMALLEST_SCALE)
    error = float((actual.double() - correct).norm()) / scale
    if error <= tolerance or not math.isfinite(error):
        return Deviation(error, tolerance, where)
    # Next to an integer a result can be as small as the fraction, and its error is not.
    rounding = 4 * torch.finfo(computed).eps * float(sizes().norm())
    return Deviation(error, (tolerance * norm + rounding) / scale, where)


def summed_sizes(case: Case, tensors: Tensors) -> Results:
    """For every element of a result, the sum of the sizes of what is added up for it, each corner counting whole.

    Rounding is measured against it: 1 - fraction is rounded before or after it is multiplied.
    """
    input, weight, bias, gradient = (
        tensor.detach().double().abs() for tensor in (tensors.input, tensors.weight, tensors.bias, tensors.grad_output)
    )
    input.requires_grad_()
    weight.requires_grad_()
    floor = tensors.positions.detach().double().floor()
    parts = [
        active_conv2d_reference(input, weight, floor + torch.tensor(corner).double(), None, *case.settings)
        for corner in itertools.product((0.0, 1.0), (0.0, 1.0))
    ]
    whole = parts[0] + parts[1] + parts[2] + parts[3]
    by_input, by_weight = torch.autograd.grad(whole, (input, weight), gradient)
    by_synapse = (weight.detach() * by_weight).sum(1).reshape(floor.shape[0], -1, floor.shape[1]).sum(1)
    return Results(
        output=whole.detach() + bias[:, None, None],
        input=by_input,
        weight=by_weight,
        positions=by_synapse.unsqueeze(-1).expand_as(floor),
        bias=gradient.sum((0, 2, 3)),
    )
