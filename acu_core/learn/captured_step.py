"""The two halves of a training step as graphs: a batch's gradients, and what the optimizer makes of them.

What a captured kernel gets from Python stays what it was at the capture. So whatever changes from step to step comes to
the first half as a tensor (images, labels, the loss scale) or through PyTorch's generator, whose seed is read at each
replay; and the second half, whose learning rates are numbers, is captured anew whenever one of them changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from acu_core.errors import Notice
from acu_core.learn.step_graph import Graph

WARM_UP = 3
"""Steps that are taken as they are before one is captured."""

Figures = tuple[Tensor, Tensor]
Compute = Callable[[Tensor, Tensor], Figures]


@dataclass(frozen=True)
class _Captured:
    graph: Graph
    images: Tensor
    labels: Tensor
    figures: Tensor
    gradients: tuple[tuple[Tensor, Tensor], ...]

    def takes(self, images: Tensor, labels: Tensor) -> bool:
        pairs = ((self.images, images), (self.labels, labels))
        return all(
            (ours.shape, ours.dtype, ours.device, ours.stride()) == (new.shape, new.dtype, new.device, new.stride())
            for ours, new in pairs
        )


class CapturedGradients:
    """Figures and gradients of a batch, captured after `WARM_UP` calls and then replayed.

    It leaves each parameter's gradient where `compute` does, in `.grad`. Where the work cannot be captured, a warning
    says so, and it goes on as it is; so does a batch of another size.
    """

    def __init__(self, parameters: Iterable[Tensor], new_graph: Callable[[], Graph]) -> None:
        self._parameters = tuple(parameters)
        self._new_graph = new_graph
        self._graph: Graph | None = None
        self._warmed = 0
        self._captured: _Captured | None = None
        self._refused = False
        self.replayed = False
        """Whether the last call replayed: then the gradients lie where they always do."""

    def __call__(self, compute: Compute, images: Tensor, labels: Tensor) -> Figures:
        """Loss () and accuracy () of a batch by `compute(images, labels)`, always the same function.

        It leaves the gradients in the parameters, which must have none before.
        """
        self.replayed = False
        if self._refused or (self._captured is not None and not self._captured.takes(images, labels)):
            return compute(images, labels)
        if self._captured is None:
            self._graph = self._graph or self._new_graph()
            if self._warmed < WARM_UP:
                self._warmed += 1
                # All that is captured later, so that none of its kernels is loaded amid the capture.
                loss, accuracy = self._graph.warm_up(lambda: torch.stack(compute(images, labels))).unbind()
                return loss, accuracy
            self._captured = self._capture(self._graph, compute, images, labels)
            if self._captured is None:
                return compute(images, labels)
        captured = self._captured
        captured.images.copy_(images)
        captured.labels.copy_(labels)
        captured.graph.replay()
        for parameter, gradient in captured.gradients:
            parameter.grad = gradient
        self.replayed = True
        # A copy: the next step writes over what is captured.
        loss, accuracy = captured.figures.clone().unbind()
        return loss, accuracy

    def _capture(self, graph: Graph, compute: Compute, images: Tensor, labels: Tensor) -> _Captured | None:
        images, labels = images.clone(), labels.clone()
        try:
            figures = graph.capture(lambda: torch.stack(compute(images, labels)))
        except Exception as error:  # a foreign network can fail anywhere in its own code
            self._refused = True
            for parameter in self._parameters:
                parameter.grad = None
            _warn_of("the training step", error)
            return None
        gradients = tuple((one, one.grad) for one in self._parameters if one.grad is not None)
        return _Captured(graph, images, labels, figures, gradients)


class CapturedUpdate:
    """What the optimizer makes of gradients that lie where they always do.

    Captured once `WARM_UP` steps in a row had the same numbers, and replayed as long as they stay; so a schedule that
    changes its rate with every iteration is never captured, and one of steps a few times in a training.
    """

    def __init__(self, new_graph: Callable[[], Graph]) -> None:
        self._new_graph = new_graph
        self._numbers: Hashable = None
        self._graph: Graph | None = None
        self._captured = False
        self._warmed = 0
        self._refused = False

    def __call__(self, numbers: Hashable, update: Callable[[], None]) -> None:
        """Does `update`, which depends on nothing but `numbers`, the gradients and the optimizer's own state."""
        if self._refused:
            update()
            return
        if numbers != self._numbers:
            self._numbers, self._graph, self._captured, self._warmed = numbers, None, False, 0
        if not self._captured:
            if self._warmed < WARM_UP:
                self._warmed += 1
                update()
                return
            self._graph = self._new_graph()
            try:
                self._graph.capture(update)
            except Exception as error:
                # An optimizer can fail in a capture in any way of its own, and goes on without one.
                self._refused, self._graph = True, None
                _warn_of("the optimizer's part of the training step", error)
                update()
                return
            self._captured = True
        assert self._graph is not None
        self._graph.replay()


class CapturedResult:
    """What is computed from tensors that stay where they lie, on the graph's device: captured after `WARM_UP` calls and
    then replayed."""

    def __init__(self, compute: Callable[[], Tensor], new_graph: Callable[[], Graph]) -> None:
        self._compute = compute
        self._new_graph = new_graph
        self._calls = 0
        self._graph: Graph | None = None
        self._result: Tensor | None = None
        self._refused = False

    def __call__(self) -> Tensor:
        """The result, a tensor of the caller's own."""
        if self._refused or self._calls < WARM_UP:
            self._calls += 1
            return self._compute()
        if self._graph is None:
            graph = self._new_graph()
            try:
                self._result = graph.capture(self._compute)
            except Exception as error:
                # A capture can fail in any way of PyTorch's own; the shapes are then recorded without one.
                self._refused = True
                _warn_of("what is recorded of the shapes", error)
                return self._compute()
            self._graph = graph
        self._graph.replay()
        assert self._result is not None
        return self._result.clone()


def _warn_of(what: str, error: Exception) -> None:
    lines = str(error).strip().splitlines()
    warnings.warn(
        f"{what} cannot be captured as a CUDA graph ({lines[0] if lines else type(error).__name__}): this is trained "
        "without, to the same results",
        Notice,
        stacklevel=2,
    )
