"""torch.compile of a network, as a training step calls it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from acu_core.errors import UserError
from acu_core.recipe.schema import Recipe

Forward = Callable[[Tensor], Tensor]


def compiled_forward(network: nn.Module, recipe: Recipe, device: torch.device) -> Forward:
    """What a step calls in the place of `network`: a compiled network where the recipe asks for one, else `network`.

    `network` itself stays as it is, names in its state dict included, and is what is evaluated and saved. Give the
    wrapped network where one is wrapped for several processes.

    Sizes are taken as fixed, for every batch of a training has the same. Random draws are PyTorch's, as they are
    without compilation, so that dropout leaves out the same.
    """
    if not compiles(recipe, device):
        return network
    compiled: Forward = torch.compile(network, dynamic=False, options={"fallback_random": True})
    return compiled


def compiles(recipe: Recipe, device: torch.device) -> bool:
    """Whether the network is compiled: asked for, and possible on this machine."""
    return recipe.machine.compile and compiler_missing(device.type) is None


def refuse_missing_compiler(recipe: Recipe, device: torch.device) -> None:
    """Raises UserError where the recipe asks for a compiled network and there is no compiler for it."""
    missing = compiler_missing(device.type) if recipe.machine.compile else None
    if missing is not None:
        raise UserError(f"machine.compile needs {missing}: install it, or set machine.compile to false")


@functools.cache
def compiler_missing(device_type: str) -> str | None:
    """What compiling for a device lacks here; None where it lacks nothing."""
    # Takes seconds to import, and is needed by nobody else.
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton_package

    if device_type == "cuda" and not has_triton_package():
        return "the package triton"
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "a C++ compiler, such as g++"
    return None


class CompilationError(UserError):
    """PyTorch's compiler does not take a network."""


@contextmanager
def compiling() -> Iterator[None]:
    """Around what may compile: turns what PyTorch's compiler raises into a CompilationError of one sentence."""
    from torch._dynamo.exc import TorchDynamoException

    # PyTorch's cutting of graphs where gradients are exchanged fails on networks of more than one active layer.
    try:
        with torch._dynamo.config.patch(optimize_ddp=False):
            yield
    except TorchDynamoException as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CompilationError(
            f"the network cannot be compiled here ({reason}): set machine.compile to false"
        ) from error
