"""The paper's plain network for CIFAR, and the variants of its ablation."""

from __future__ import annotations

from typing import Any

from acu_core.nn.convolution_unit import Unit, append_convolution, check_unit, convolution_unit
from acu_core.nn.pooled_network import PooledNetwork
from acu_core.nn.shapes import InitialShape


class Plain(PooledNetwork):
    """The paper's plain CIFAR network.

    1x1 16; 3x3 48, 48, 96 (stride 2), 96, 192 (stride 2), 192; 1x1 1000, each followed by BatchNorm (eps 1e-5) and
    ReLU; the average over the image; 1x1 to the classes. The 3x3 convolutions are the units; their names are conv1_1
    to conv3_2, as in the paper. Read off the authors' network file.

    Shapes: images (N, in_channels, 32, 32) to logits (N, classes).

    Args:
        in_channels: of the images.
        classes: how many.
        unit: what the 3x3 convolutions are.
        last_kernel: of conv3_1 and conv3_2, in pixels; 5 is the paper's Base-F5 and ACU-F5.
        last_dilation: of conv3_1 and conv3_2, in pixels; 2 is the paper's Base-D2.
        first_active_stage: stages before it stay ordinary; 2 is the paper's ACU-C23.
        width: what all numbers of channels but `in_channels` and `classes` are multiplied with; the paper's is 1.
        shape: where the synapses of active units start; the paper's is "square".

    Raises:
        ValueError: an option does not fit, with its name.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        unit: Unit,
        last_kernel: int = 3,
        last_dilation: int = 1,
        first_active_stage: int = 1,
        width: float = 1.0,
        shape: InitialShape = "square",
    ) -> None:
        super().__init__()
        check_unit(unit)
        if last_kernel < 3 or last_kernel % 2 == 0:
            raise ValueError(f"last_kernel must be odd and at least 3, not {last_kernel}")
        if first_active_stage not in (1, 2, 3):
            raise ValueError(f"first_active_stage must be 1, 2 or 3, not {first_active_stage}")
        if not isinstance(shape, str) or (unit != "acu" and shape != "square"):
            raise ValueError(f"shape must be that of active units by name, not {shape!r} for the unit {unit!r}")
        first, *stages, last = (max(1, round(width * channels)) for channels in (16, 48, 96, 192, 1000))
        append_convolution(self, "0", convolution_unit("convolution", in_channels, first, 1))
        channels = first
        for stage, outputs in enumerate(stages, start=1):
            kernel, dilation = (last_kernel, last_dilation) if stage == 3 else (3, 1)
            kind: Unit = unit if stage >= first_active_stage else "convolution"
            start: dict[str, Any] = {"shape": shape} if kind == "acu" else {}
            for place in (1, 2):
                stride = 2 if stage > 1 and place == 1 else 1
                padding = dilation * (kernel // 2)
                layer = convolution_unit(
                    kind, channels, outputs, kernel, stride=stride, padding=padding, dilation=dilation, **start
                )
                append_convolution(self, f"{stage}_{place}", layer)
                channels = outputs
        append_convolution(self, "4", convolution_unit("convolution", channels, last, 1))
        self.append_classifier(last, classes)
