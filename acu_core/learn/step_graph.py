"""Work on a GPU that is captured once as a CUDA graph and then replayed, without Python between its kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

from acu_core.learn.processes import Processes
from acu_core.recipe.schema import Recipe

T = TypeVar("T")


class Graph(Protocol):
    """Work that can be done again: the same kernels, on the same memory, with the same numbers from Python."""

    def warm_up(self, work: Callable[[], T]) -> T:
        """Does the work as it is, where it will be captured: what must be allocated or loaded once is then there."""

    def capture(self, work: Callable[[], T]) -> T:
        """Notes the work without doing it. The tensors that come back hold nothing before the first `replay`."""

    def replay(self) -> None:
        """Does the work that was captured, without waiting for it."""


class CudaGraph:
    """A `Graph` by `torch.cuda.CUDAGraph`, with a stream and memory of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None

    def warm_up(self, work: Callable[[], T]) -> T:
        """See `Graph`."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def capture(self, work: Callable[[], T]) -> T:
        """See `Graph`. Waits for the device once. Raises what PyTorch raises where the work cannot be captured."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            try:
                # What other threads do on the device, such as copies of images, is no part of it and no mistake.
                with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                    result = work()
            finally:
                # A capture that fails leaves its own stream the current one.
                torch.cuda.set_stream(current)
        self._graph = graph
        return result

    def replay(self) -> None:
        """See `Graph`."""
        assert self._graph is not None, "there is nothing captured yet"
        self._graph.replay()


def captures(recipe: Recipe, device: torch.device, processes: Processes) -> bool:
    """Whether the step is to be captured: asked for, and possible there."""
    return recipe.machine.cuda_graph and _hindrance(device, processes) is None


def capture_note(recipe: Recipe, device: torch.device, processes: Processes) -> str | None:
    """What to tell where a graph is asked for and there can be none; None otherwise."""
    hindrance = _hindrance(device, processes) if recipe.machine.cuda_graph else None
    if hindrance is None:
        return None
    return f"machine.cuda_graph {hindrance}: this is trained without, to the same results"


def _hindrance(device: torch.device, processes: Processes) -> str | None:
    if device.type != "cuda":
        return f"needs an NVIDIA GPU, which {device} is not"
    if processes.several:
        # Their gradients come together inside of backward, on streams and in threads of their own.
        return "is for one process, not for several that train together"
    return None
