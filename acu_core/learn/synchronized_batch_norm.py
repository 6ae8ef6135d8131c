"""BatchNorm over the whole batch of several processes: N of them compute what one does, up to rounding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from acu_core.learn.processes import Processes


def synchronize_batch_norms(model: nn.Module, processes: Processes, device: torch.device) -> None:
    """Makes every BatchNorm of a network normalise by the statistics of all processes' images while it trains.

    On a GPU by PyTorch's SyncBatchNorm, elsewhere, where that refuses, by one of our own. Nothing changes for one
    process alone. Parameters, statistics and their names stay what they are.
    """
    if not processes.several:
        return
    for layer in model.modules():
        if not isinstance(layer, _BatchNorm) or isinstance(layer, nn.SyncBatchNorm):
            continue
        # Not another module in its place: hooks and references stay what they are, too.
        if device.type == "cuda":
            layer.__class__ = nn.SyncBatchNorm
            # All processes. A module's own setter is for tensors and modules.
            layer.__dict__["process_group"] = None
        else:
            layer.__class__ = _SynchronizedBatchNorm
            layer.__dict__["processes"] = processes


class _SynchronizedBatchNorm(_BatchNorm):
    """As `nn.BatchNorm2d`, for inputs (N, C, ...) of any number of dimensions; N may differ between processes."""

    processes: Processes

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected an input of at least 2 dimensions, got {input.dim()}")

    # Processes meet in it, which no compiler sees through.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        output, mean, variance, count = _Normalized.apply(input, self.weight, self.bias, self.eps, self.processes)
        self._average(mean, variance, float(count))
        normalized: Tensor = output
        return normalized

    @torch.no_grad()
    def _average(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Adds the batch's statistics, float64, to the running ones, as PyTorch does."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if self.running_mean is None or self.running_var is None:
            return
        if self.momentum is not None:
            momentum = self.momentum
        else:
            assert self.num_batches_tracked is not None
            momentum = 1 / float(self.num_batches_tracked)
        unbiased = variance * (count / (count - 1))
        for average, value in ((self.running_mean, mean), (self.running_var, unbiased)):
            average.copy_(momentum * value + (1 - momentum) * average.double())


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, processes: Processes
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count = input.numel() // input.shape[1]
        # Parameters and statistics stay float32 beside a 16-bit input, as in PyTorch's layer.
        precise = torch.promote_types(input.dtype, torch.float32)
        # The sums of PyTorch's own layer: `torch.var_mean` takes twenty times as long.
        mean, variance = torch.batch_norm_update_stats(input.to(precise), None, None, 0.0)
        mean, variance, total = _combined(mean, variance, count, processes)
        if total < 2:
            raise ValueError(f"BatchNorm cannot train on one value a channel, got an input of {tuple(input.shape)}")
        kept = weight.dtype if weight is not None else precise
        statistics = mean.to(kept), variance.to(kept)
        # The layer of an evaluation: it normalises by the statistics that it is given.
        output = functional.batch_norm(input, *statistics, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(input, weight, *statistics)
        ctx.eps, ctx.processes, ctx.total = eps, processes, total
        found = mean, variance, torch.tensor(total)
        ctx.mark_non_differentiable(*found)
        return output, *found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, variance = ctx.saved_tensors
        # Of an evaluation's layer too: for the input it lacks what flows through the statistics.
        unit = torch.ones_like(mean)
        scale = weight if weight is not None else unit
        of_input, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, input, scale, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = ctx.processes.gathered(torch.stack([of_weight, of_bias]).double()).sum(0) / ctx.total
        slope, offset = (-sums * scale * torch.rsqrt(variance.double() + ctx.eps)).to(mean.dtype)
        of_input += functional.batch_norm(input, mean, variance, slope, offset, False, 0.0, ctx.eps)
        needed = ctx.needs_input_grad
        return of_input, of_weight if needed[1] else None, of_bias if needed[2] else None, None, None


def _combined(mean: Tensor, variance: Tensor, count: int, processes: Processes) -> tuple[Tensor, Tensor, int]:
    """Mean (C,), variance (C,), both float64, and number of all processes' values from those of each."""
    ours = torch.cat([mean.double(), variance.double(), mean.new_tensor([count], dtype=torch.float64)])
    means, variances, counts = torch.split(processes.gathered(ours), [len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    overall = (counts * means).sum(0) / total
    spread = (counts * (variances + (means - overall).square())).sum(0) / total
    return overall, spread, int(total)
