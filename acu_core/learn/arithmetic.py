"""The precision that a training is computed with: what a recipe asks for, and what its device then does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from acu_core.errors import UserError
from acu_core.learn.backend_flags import Float32, float32_products
from acu_core.recipe.schema import Recipe

EVALUATION_PRECISION = "float32"
"""Of every evaluation, whatever the training's precision is.

The weights are float32 in every training. So a run's figure is that of its weights: the one that an evaluation of its
checkpoint gives on another device, and that its exported network gives; and runs of several precisions compare.
"""

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Arithmetic:
    """How a training step computes. Weights, their gradients and the optimizer are float32 in every precision."""

    precision: str
    """float32, tf32, bfloat16 or float16, as the device really computes."""
    device_type: str

    @staticmethod
    def of(recipe: Recipe, device: torch.device) -> Arithmetic:
        """What `machine.precision` comes to on `device`: TF32 is float32 where there is no TF32."""
        wanted = recipe.machine.precision
        if wanted == "tf32" and not _has_tf32(device):
            wanted = "float32"
        return Arithmetic(wanted, device.type)

    @property
    def scales_loss(self) -> bool:
        """Whether gradients would vanish without loss scaling: float16 ends at 6e-8."""
        return self.precision == "float16"

    @property
    def products(self) -> Float32:
        """How products of float32 tensors are computed, convolutions and matrix products alike."""
        return "tf32" if self.precision == "tf32" else "ieee"

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a whole step: forward, backward, optimizer."""
        with float32_products(self.products):
            yield

    def forward(self) -> AbstractContextManager[object]:
        """Around forward and loss: 16-bit precisions are PyTorch's autocast."""
        dtype = _AUTOCAST.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(self.device_type, dtype)

    def describe(self) -> dict[str, Any]:
        """For `environment.json`."""
        return {
            "convolutions": self.products,
            "products": self.products,
            "reduced_precision_sums": False,
            "evaluation": EVALUATION_PRECISION,
        }


@contextmanager
def evaluating() -> Iterator[None]:
    """Around an evaluation: products and convolutions in float32."""
    with float32_products("ieee"):
        yield


def precision_note(recipe: Recipe, device: torch.device) -> str | None:
    """What to tell where the device does not compute as the recipe says; None where it does."""
    wanted, found = recipe.machine.precision, Arithmetic.of(recipe, device).precision
    if wanted == found:
        return None
    return f"machine.precision = {wanted} needs an NVIDIA GPU that has it: on {device} this is trained in {found}"


def refuse_missing_precision(recipe: Recipe, device: torch.device) -> None:
    """Raises UserError where the device cannot compute in the recipe's 16 bits."""
    if recipe.machine.precision != "bfloat16" or device.type != "cuda":
        return
    with torch.cuda.device(device):
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UserError(
                f"{torch.cuda.get_device_name(device)} has no bfloat16: choose float16 or float32 as machine.precision"
            )


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device)[0] >= 8
