"""Caffe's running average for BatchNorm, as the authors trained with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


def corrected_momentum(iteration: int, fraction: float = 0.001) -> float:
    """BatchNorm's momentum in training iteration `iteration`, counted from 1.

    Caffe divides its running sum by the sum of its weights, 1 - (1 - fraction)**t. With PyTorch's update that is
    exactly a momentum of fraction / (1 - (1 - fraction)**t): 1 at first, then falling to `fraction`. A plain momentum
    of 0.001 would still hold the initial statistics when a short run is evaluated.
    """
    return fraction / (1 - (1 - fraction) ** iteration)


class CorrectedAverage:
    """Gives every BatchNorm of a network the momentum of each training iteration.

    A momentum that is a Python number is part of a compiled graph, which would be compiled anew for every iteration.
    So compiled graphs read it from a tensor; without compilation the layers compute what they always do, to the bit.
    Layers of another kind than BatchNorm2d, which compute in a way of their own, have a momentum of 1 where they are
    compiled, so that what they leave is the statistics of the batch alone; `finish` averages these. So have all layers
    where the forward pass may be captured as a graph, in which a number of Python stays what it was. A layer that such
    a pass calls more than once is averaged call by call, BatchNorm2d and SyncBatchNorm only and not where compiled.
    """

    def __init__(
        self,
        model: nn.Module,
        fraction: float = 0.001,
        *,
        continued: bool = False,
        compiled: bool = False,
        afterwards: bool = False,
    ) -> None:
        """`continued` statistics are those of an earlier training, whose average goes on.

        The momentum is then `fraction` from the first iteration on: 1 would forget them at once. `compiled` says that
        the model is called as a compiled one, `afterwards` that all layers' statistics are averaged by `finish`.
        """
        self._fraction = fraction
        self._continued = continued
        found = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        apart = [
            layer
            for layer in found
            if afterwards or (compiled and type(layer) not in (nn.BatchNorm2d, _CompilableBatchNorm2d))
        ]
        self._layers = [layer for layer in found if layer not in apart]
        self._apart = apart
        self._averages: list[Tensor] = []
        for layer in apart:
            self._averages += _statistics(layer)
        self._repeatable = [] if compiled else [found for found in map(_repeatable, apart) if found is not None]
        # What they were before the forward pass; memory that is kept, as sixteen new tensors a step take a tenth of a
        # millisecond.
        self._before: list[Tensor] = []
        self._begun = False
        self._newest = 1.0
        self._momentum = torch.ones((), dtype=torch.float64)
        for layer in self._layers:
            if type(layer) is nn.BatchNorm2d:
                # Not another module in its place: names in state dicts, hooks and references stay what they are.
                layer.__class__ = _CompilableBatchNorm2d
            if isinstance(layer, _CompilableBatchNorm2d):
                layer.momentum_tensor = self._momentum

    def set(self, iteration: int) -> None:
        """Sets the momentum for training iteration `iteration`, counted from 1."""
        momentum = self._fraction if self._continued else corrected_momentum(iteration, self._fraction)
        self._momentum.fill_(momentum)
        self._newest = momentum
        for layer in self._layers:
            _set_momentum(layer, momentum)
        for layer in self._apart:
            _set_momentum(layer, 1.0)
        for repeatable in self._repeatable:
            repeatable.calls.begin()
        if self._averages:
            # One kernel on a GPU, where a clone of each would be many.
            if not self._before or self._before[0].device != self._averages[0].device:
                self._before = [torch.empty_like(average) for average in self._averages]
            torch._foreach_copy_(self._before, self._averages)
            self._begun = True

    @torch.no_grad()
    def finish(self) -> None:
        """Averages what the forward pass of the iteration left to it; nothing where there is no such layer."""
        if self._begun:
            self._finish_earlier_calls()
            torch._foreach_lerp_(self._before, self._averages, self._newest)
            torch._foreach_copy_(self._averages, self._before)
            self._begun = False
        # What they have outside a step is the momentum that they were averaged with.
        for layer in self._apart:
            _set_momentum(layer, self._newest)

    def _finish_earlier_calls(self) -> None:
        before = dict(zip(map(id, self._averages), self._before, strict=True))
        calls = [(layer, layer.calls.earlier()) for layer in self._repeatable]
        for number in range(max((len(earlier) for _, earlier in calls), default=0)):
            averages: list[Tensor] = []
            left: list[Tensor] = []
            for layer, earlier in calls:
                if number < len(earlier):
                    averages += [before[id(average)] for average in _statistics(layer)]
                    left += earlier[number]
            torch._foreach_lerp_(averages, left, self._newest)


def _set_momentum(layer: _BatchNorm, momentum: float) -> None:
    # A number is no parameter, buffer or module. For a network of 16 layers a step took 0.2 ms to find that out.
    object.__setattr__(layer, "momentum", momentum)


class _Calls:
    """What each but the last of a layer's calls in one forward pass left, in memory that stays the same for a graph."""

    def __init__(self) -> None:
        self._count = self._last_count = 0
        self._left: list[list[Tensor]] = []

    def begin(self) -> None:
        """A forward pass begins."""
        self._count = 0

    def note(self, statistics: list[Tensor]) -> None:
        """The layer is called; its statistics are those that the call before left, where there was one."""
        if self._count:
            if len(self._left) < self._count:
                self._left.append([torch.empty_like(tensor) for tensor in statistics])
            torch._foreach_copy_(self._left[self._count - 1], statistics)
        self._count += 1

    def earlier(self) -> list[list[Tensor]]:
        """What the calls of this forward pass left, without the last one."""
        # A graph that is replayed calls nothing, and does what it did when it was captured.
        self._last_count = self._count or self._last_count
        return self._left[: max(0, self._last_count - 1)]


class _RepeatableBatchNorm2d(nn.BatchNorm2d):
    calls: _Calls

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            self.calls.note(_statistics(self))
        return super().forward(input)


class _RepeatableSyncBatchNorm(nn.SyncBatchNorm):
    calls: _Calls

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            self.calls.note(_statistics(self))
        return super().forward(input)


def _repeatable(layer: _BatchNorm) -> _RepeatableBatchNorm2d | _RepeatableSyncBatchNorm | None:
    """The layer itself, which from now on notes its calls; None for one of another kind or without statistics."""
    if not _statistics(layer):
        return None
    if type(layer) is nn.BatchNorm2d:
        layer.__class__ = _RepeatableBatchNorm2d
    elif type(layer) is nn.SyncBatchNorm:
        layer.__class__ = _RepeatableSyncBatchNorm
    if not isinstance(layer, _RepeatableBatchNorm2d | _RepeatableSyncBatchNorm):
        return None
    layer.calls = _Calls()
    return layer


def _statistics(layer: _BatchNorm) -> list[Tensor]:
    return [tensor for tensor in (layer.running_mean, layer.running_var) if tensor is not None]


class _CompilableBatchNorm2d(nn.BatchNorm2d):
    momentum_tensor: Tensor

    def forward(self, input: Tensor) -> Tensor:
        mean, variance, count = self.running_mean, self.running_var, self.num_batches_tracked
        averaging = self.training and mean is not None and variance is not None and count is not None
        if not averaging or not torch.compiler.is_compiling():
            return super().forward(input)
        assert mean is not None
        assert variance is not None
        assert count is not None
        # With a momentum of 1, what comes back are the statistics of this batch alone.
        newest = torch.zeros_like(mean), torch.zeros_like(variance)
        output = functional.batch_norm(input, *newest, self.weight, self.bias, True, 1.0, self.eps)
        momentum = self.momentum_tensor
        with torch.no_grad():
            for average, value in zip((mean, variance), newest, strict=True):
                average.copy_(momentum * value.double() + (1 - momentum) * average.double())
            count.add_(1)
        return output
