"""The authors' plain network: from Caffe's layers to the state of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from acu_core.caffe.caffemodel import CaffeLayer, Caffemodel, quoted
from acu_core.caffe.schema import parse
from acu_core.errors import UserError

Array = npt.NDArray[np.float32]

# They feed the network or judge it, and compute nothing of it.
_AROUND = ("Data", "Input", "ImageData", "HDF5Data", "MemoryData", "Softmax", "SoftmaxWithLoss", "Accuracy")
# Name in our network, kernel, stride.
_CONVOLUTIONS = (
    ("0", 1, 1),
    ("1_1", 3, 1),
    ("1_2", 3, 1),
    ("2_1", 3, 2),
    ("2_2", 3, 1),
    ("3_1", 3, 2),
    ("3_2", 3, 1),
    ("4", 1, 1),
)
_EPSILON = 1e-5

# Where Caffe's synapses start, (y, x): the centre, then by angle. Ours go row by row, as in a Conv2d's weight.
_CAFFE_ORDER = ((0, 0), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
ROW_MAJOR = tuple(_CAFFE_ORDER.index((y, x)) for y in (-1, 0, 1) for x in (-1, 0, 1))
"""Caffe's number of each synapse of a 3x3 unit, in our order."""


def plain_state(model: Caffemodel, iteration: int) -> dict[str, Tensor]:
    """The state dict of our network "plain" with active units that computes what the Caffe network does.

    The widths are the file's: whether they are the paper's is for the caller to compare. Raises UserError that names
    the layer when the file is another network.
    """
    chain = _Chain(model)
    state: dict[str, Tensor] = {}
    for name, kernel, stride in _CONVOLUTIONS:
        layer = chain.next("AConvFast", *(("Convolution",) if kernel == 1 else ()))
        chain.check_geometry(layer, kernel, stride, bias=False)
        arrays = _unit(chain, layer, kernel)
        state |= {f"conv{name}.{key}": torch.from_numpy(value.copy()) for key, value in arrays.items()}
        norm, scale = chain.next("BatchNorm"), chain.next("Scale")
        state |= _batch_norm(chain, norm, scale, f"norm{name}", iteration)
        relu = parse("ReLUParameter", (activation := chain.next("ReLU")).relu_param)
        if relu is None or relu.negative_slope:
            raise chain.refused(activation, "has a slope below 0")
    pooling = chain.next("Pooling")
    table = parse("PoolingParameter", pooling.pooling_param)
    if table is None or table.pool != 1 or not table.global_pooling:
        raise chain.refused(pooling, "is not the average over the whole image")
    layer = chain.next("Convolution")
    chain.check_geometry(layer, 1, 1, bias=True)
    weight, bias = chain.blobs(layer, 4, None)
    state |= {"classifier.weight": torch.from_numpy(weight), "classifier.bias": torch.from_numpy(bias.reshape(-1))}
    chain.check_end()
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{name} of {model.path} is not finite: get the file again")
    return state


def _unit(chain: _Chain, layer: CaffeLayer, kernel: int) -> dict[str, Array]:
    if layer.type == "Convolution":
        (weight,) = chain.blobs(layer, 4)
        return {"weight": weight}
    # The second blob stands where a bias would, and is 0 where there is none.
    weight, bias, x, y = chain.blobs(layer, 4, None, 4, 4)
    groups = x.shape[0]
    if weight.shape[2:] != (kernel, kernel) or x.shape != (groups, 1, kernel, kernel) or y.shape != x.shape:
        raise chain.refused(layer, f"does not have {kernel * kernel} synapses")
    if bias.any():
        raise chain.refused(layer, "has a bias")
    if kernel == 1:
        if x.any() or y.any():
            raise chain.refused(layer, "has a 1x1 synapse that is not at the centre")
        return {"weight": weight}
    order = list(ROW_MAJOR)
    positions = np.stack([y, x], axis=-1).reshape(groups, kernel * kernel, 2)
    return {"weight": weight.reshape(*weight.shape[:2], -1)[:, :, order], "positions": positions[:, order]}


def _batch_norm(chain: _Chain, norm: CaffeLayer, scale: CaffeLayer, name: str, iteration: int) -> dict[str, Tensor]:
    """BatchNorm and Scale as one.

    Caffe stores sums: sum_i 0.999**(t-i) * (mean_i, variance_i, 1), so the first two divided by the third are its
    running statistics, which it uses as they are when it tests. Its variance_i is already the unbiased one,
    m / (m - 1) times the batch's, and so is what PyTorch keeps in `running_var`: nothing is to be converted, for
    evaluation or for training on.
    """
    table = parse("BatchNormParameter", norm.batch_norm_param)
    if table is None or not np.isclose(table.eps, _EPSILON, rtol=1e-4):
        raise chain.refused(norm, f"does not have eps {_EPSILON:g}")
    mean, variance, factor = chain.blobs(norm, 1, 1, 1)
    gain, shift = chain.blobs(scale, 1, 1)
    if factor.shape != (1,) or not factor[0] > 0:
        raise chain.refused(norm, "has no statistics, it was never trained")
    if len({mean.shape, variance.shape, gain.shape, shift.shape}) != 1 or (variance < 0).any():
        raise chain.refused(norm, "has statistics that do not belong together")
    with np.errstate(over="ignore"):
        statistics = mean / factor, variance / factor
    return {
        f"{name}.weight": torch.from_numpy(gain),
        f"{name}.bias": torch.from_numpy(shift),
        f"{name}.running_mean": torch.from_numpy(statistics[0]),
        f"{name}.running_var": torch.from_numpy(statistics[1]),
        f"{name}.num_batches_tracked": torch.tensor(iteration),
    }


@dataclass
class _Chain:
    """Walks through the computing layers in order; each must read what the one before wrote, and nothing else."""

    model: Caffemodel

    def __post_init__(self) -> None:
        self._layers: Sequence[CaffeLayer] = [layer for layer in self.model.layers if layer.type not in _AROUND]
        self._index = 0

    def next(self, *types: str) -> CaffeLayer:
        """The next layer, which must be of one of `types`."""
        if self._index == len(self._layers):
            raise UserError(
                f"{self.model.path} is not the authors' plain network, the only one that can be imported: "
                f"it ends where a {types[0]} layer should come"
            )
        layer = self._layers[self._index]
        if layer.type not in types:
            raise self.refused(layer, f"is of type {quoted(layer.type)}, not {' or '.join(types)}")
        before = self._layers[self._index - 1].top if self._index else layer.bottom
        if layer.bottom != before or len(layer.bottom) != 1 or len(layer.top) != 1:
            raise self.refused(layer, "does not read what the layer before it writes")
        self._index += 1
        return layer

    def check_end(self) -> None:
        """Refuses layers beyond those that were taken."""
        if self._index < len(self._layers):
            raise self.refused(self._layers[self._index], "comes after the end of that network")

    def refused(self, layer: CaffeLayer, why: str) -> UserError:
        """The one sentence for a layer that the network does not have."""
        return UserError(
            f"{self.model.path} is not the authors' plain network, the only one that can be imported: "
            f"its layer {quoted(layer.name)} {why}"
        )

    def blobs(self, layer: CaffeLayer, *axes: int | None) -> tuple[Array, ...]:
        """The layer's arrays, which must have so many axes; None takes any."""
        found = [array.ndim for array in layer.blobs]
        if len(found) != len(axes) or any(n not in (None, m) for n, m in zip(axes, found, strict=True)):
            raise self.refused(layer, f"has arrays with {found} axes")
        return layer.blobs

    def check_geometry(self, layer: CaffeLayer, kernel: int, stride: int, *, bias: bool) -> None:
        """Refuses a convolution with another kernel, stride, padding, grouping, dilation or bias."""
        table = parse("ConvolutionParameter", layer.convolution_param)
        if table is None:
            raise self.refused(layer, "has a damaged convolution_param")
        expected = {
            "kernel_size": (list(table.kernel_size), kernel, None),
            "stride": (list(table.stride), stride, 1),
            "pad": (list(table.pad), kernel // 2, 0),
            "dilation": (list(table.dilation), 1, 1),
        }
        for name, (found, wanted, default) in expected.items():
            if {*(found or [default])} != {wanted}:
                raise self.refused(layer, f"has {name} {found}, not {wanted}")
        by_axis = ("kernel_h", "kernel_w", "pad_h", "pad_w", "stride_h", "stride_w")
        if table.group != 1 or any(table.HasField(name) for name in by_axis):
            raise self.refused(layer, "has groups, or sizes that differ by axis")
        if table.bias_term != bias:
            raise self.refused(layer, "has no bias" if bias else "has a bias")
