"""Networks and layers as ONNX Runtime runs them, to be timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from acu_core.export.form_timing import SURROUNDINGS
from acu_core.export.onnx_file import encode_model, session_of


class _Layers(nn.Module):
    """Each layer between a convolution that writes its input and an average over its output, as networks have them.

    ONNX Runtime keeps images in blocks of channels from one convolution to the next: a layer alone would be charged for
    taking them apart and putting them together.
    """

    def __init__(self, layers: Mapping[str, nn.Module], channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 1)
        self.layers = nn.ModuleList(layers.values())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.first(images).relu()
        return tuple(
            part.relu().mean((2, 3), keepdim=True) for part in (found, *(layer(found) for layer in self.layers))
        )


def onnx_layer_runs(
    layers: Mapping[str, nn.Module], size: tuple[int, ...], batch: int
) -> dict[str, Callable[[], object]]:
    """Calls that each run one of `layers` in its surroundings on `batch` images of `size` (C, H, W).

    `SURROUNDINGS` is one more, without a layer.
    """
    from onnx.utils import Extractor

    channels, height, width = size
    model = encode_model(_Layers(layers, channels).eval(), torch.zeros(2, 1, height, width), len(layers) + 1)
    images = torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(0)).numpy()
    extractor = Extractor(model)
    names = (SURROUNDINGS, *layers)
    return {
        name: _run(extractor.extract_model(["images"], [output.name]).SerializeToString(), images)
        for name, output in zip(names, model.graph.output, strict=True)
    }


def onnx_network_runs(
    networks: Mapping[str, nn.Module], size: tuple[int, ...], batch: int
) -> dict[str, Callable[[], object]]:
    """Calls that each run one of `networks` on the same `batch` images of `size` (C, H, W)."""
    images = torch.randn(batch, *size, generator=torch.Generator().manual_seed(0)).numpy()
    return {
        name: _run(encode_model(network, torch.zeros(2, *size), 1).SerializeToString(), images)
        for name, network in networks.items()
    }


def _run(model: bytes, images: Any) -> Callable[[], object]:
    session = session_of(model)
    return lambda: session.run(None, {"images": images})
