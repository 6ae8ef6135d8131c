"""Caffe's running average for BatchNorm, as the authors trained with it."""

from __future__ import annotations

from torch import nn


def set_corrected_average(
    model: nn.Module, iteration: int, fraction: float = 0.001, *, pretrained: bool = False
) -> None:
    """Sets every BatchNorm's momentum for training iteration `iteration`, counted from 1.

    Caffe divides its running sum by the sum of its weights, 1 - (1 - fraction)**t. With PyTorch's update that is
    exactly a momentum of fraction / (1 - (1 - fraction)**t): 1 at first, then falling to `fraction`. A plain momentum
    of 0.001 would still hold the initial statistics when a short run is evaluated.

    `pretrained` statistics are those of a long training, whose average goes on: the momentum is `fraction` from the
    first iteration on. 1 would forget them at once.
    """
    momentum = fraction if pretrained else fraction / (1 - (1 - fraction) ** iteration)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum
