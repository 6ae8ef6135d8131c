"""The operator as PyTorch may run it: in a compiled graph, on a stream beside the default one, in a replayed graph."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from acu_core.op import functional
from acu_core.verify.case import CASES, Case, Results, Tensors, right, run
from acu_core.verify.checks import Check, agrees
from acu_core.verify.deviation import Deviation, worst
from acu_core.verify.finding import NotChecked

CASE = Case("groups across position groups", images=5, groups=2, position_groups=3, stride=(1, 2))
WAIT = 50_000_000
"""Cycles of the device: long enough that work on another stream would overtake."""


def compile_checks(device: torch.device) -> Iterator[Check]:
    """A compiled graph: traced by PyTorch alone, and with code that a compiler makes."""
    yield Check("torch.compile, traced", "values and gradients, reference", lambda: compiled(device, "aot_eager"))
    yield Check("torch.compile, compiled", "values and gradients, reference", lambda: compiled(device, "inductor"))


def cuda_checks(device: torch.device) -> Iterator[Check]:
    """What only CUDA has."""
    yield Check("a stream of its own", "values and gradients, reference", lambda: side_stream(device))
    yield Check("graph replay", "values and gradients of new arguments, reference", lambda: replayed(device))


def missing_compiler(device: torch.device) -> str:
    """What PyTorch's compiler lacks on this machine; empty where nothing is known to be missing."""
    if device.type == "cuda":
        return "" if importlib.util.find_spec("triton") is not None else "triton is not installed"
    compiler = os.environ.get("CXX", "g++")
    return "" if shutil.which(compiler) else f"there is no C++ compiler {compiler}"


def compiled(device: torch.device, backend: str) -> Deviation:
    """One whole graph with the operator between two others, forward and backward."""
    if backend == "inductor" and (missing := missing_compiler(device)):
        raise NotChecked(f"{missing}: torch.compile cannot be used here")

    def between(image: Tensor, weight: Tensor, positions: Tensor, bias: Tensor) -> Tensor:
        return functional.active_conv2d(image * 2, weight, positions, bias, *CASE.settings) * 0.5

    tensors = CASE.draw(torch.float32)
    doubled = tensors._replace(input=tensors.input * 2, grad_output=tensors.grad_output * 0.5)
    expected = right(CASE, doubled)
    expected = expected._replace(output=expected.output * 0.5, input=expected.input * 2)
    given = tensors.to(device)
    leaves = [tensor.detach().requires_grad_() for tensor in given[:4]]
    torch.compiler.reset()
    # PyTorch's compiler warns of its own parts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output = torch.compile(between, fullgraph=True, backend=backend)(*leaves)
        gradients = torch.autograd.grad(output, leaves, given.grad_output)
    torch.compiler.reset()
    return agrees(CASE, tensors, Results(output.detach(), *gradients), expected)


def side_stream(device: torch.device) -> Deviation:
    """The arguments come late and on the same stream: work on any other would read what was there before."""
    stream, found = torch.cuda.Stream(device), []  # type: ignore[no-untyped-call]
    for case in CASES:
        tensors = case.draw(torch.float32)
        given = tensors.to(device)
        late = Tensors(*(torch.zeros_like(tensor) for tensor in given))
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            torch.cuda._sleep(WAIT)  # type: ignore[no-untyped-call]
            for empty, tensor in zip(late, given, strict=True):
                empty.copy_(tensor)
            actual = run(case, late)
        stream.synchronize()
        found.append(agrees(case, tensors, actual, right(case, tensors)))
    return worst(found)


def replayed(device: torch.device) -> Deviation:
    """Forward and backward captured once, then replayed with other numbers in the same memory."""
    found = []
    for case in CASES:
        place = case.draw(torch.float32, seed=1).to(device)
        # Before a capture everything must have been allocated and loaded once, on a stream of its own.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            run(case, place)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            actual = run(case, place)
        tensors = case.draw(torch.float32, seed=2)
        for there, tensor in zip(place, tensors.to(device), strict=True):
            there.copy_(tensor)
        graph.replay()
        torch.cuda.synchronize(device)
        found.append(agrees(case, tensors, actual, right(case, tensors)))
    return worst(found)
