"""What a GPU takes for a call: between two events on its stream, and replayed as a graph, without its launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import torch

GRAPH_WARM_UP = 3
"""Calls before a capture: libraries choose their kernels and take their workspaces in the first ones."""


class Event(Protocol):
    """A point on a stream, as `torch.cuda.Event` is one."""

    def record(self) -> None:
        """Puts the point after all that was launched so far."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this point to a later one."""


class Device(Protocol):
    """What of a GPU is needed to time it."""

    def synchronize(self) -> None:
        """Waits until everything launched is done."""

    def event(self) -> Event:
        """A new event that keeps the time."""

    def capture(self, run: Callable[[], object]) -> Callable[[], None]:
        """What replays the kernels that `run` launches. Raises RuntimeError where `run` waits for the device."""


class _CudaEvent:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def record(self) -> None:
        self._event.record(torch.cuda.current_stream(self._device))

    def elapsed_time(self, end_event: Event) -> float:
        return float(self._event.elapsed_time(cast(_CudaEvent, end_event)._event))


class CudaDevice:
    """A CUDA device, as PyTorch drives it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def synchronize(self) -> None:
        """Waits until everything launched is done."""
        torch.cuda.synchronize(self._device)

    def event(self) -> Event:
        """A new event that keeps the time."""
        return _CudaEvent(self._device)

    def capture(self, run: Callable[[], object]) -> Callable[[], None]:
        """What replays the kernels that `run` launches. Raises RuntimeError where `run` waits for the device."""
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(GRAPH_WARM_UP):
                    run()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run()
        return graph.replay


class DeviceClock:
    """Seconds that a GPU takes.

    `call` is a call as a program makes it: a small one takes as long as its launches. `replaying` gives its kernels
    alone, one after another as a graph, over and over, so that what fits into the caches stays there.
    """

    def __init__(self, device: Device, *, replays: int = 20) -> None:
        self._device = device
        self._replays = replays

    def call(self, run: Callable[[], object]) -> float:
        """Seconds between the points before and after a call."""
        self._device.synchronize()
        begin, end = self._device.event(), self._device.event()
        begin.record()
        run()
        end.record()
        self._device.synchronize()
        return begin.elapsed_time(end) / 1e3

    def replaying(self, run: Callable[[], object]) -> Callable[[], float] | None:
        """What gives the seconds of one replay, the mean of several; None where `run` cannot be captured."""
        try:
            replay = self._device.capture(run)
        except RuntimeError:
            self._device.synchronize()
            return None

        def replay_all() -> None:
            for _ in range(self._replays):
                replay()

        return lambda: self.call(replay_all) / self._replays
