"""The layer: `torch.nn.Conv2d` with positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from acu_core.nn.layer_hooks import check_weight, copy_hooks
from acu_core.nn.shapes import InitialShape, centre_synapse, initial_positions
from acu_core.nn.window import smallest_window
from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings
from acu_core.op.reference import dense_kernel

Size = int | tuple[int, int]


def _pair(name: str, value: Size, least: int | None) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else ()
    if len(pair) != 2 or not all(isinstance(v, int) and (least is None or v >= least) for v in pair):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name} must be an int or two ints{bound}, not {value!r}")
    return pair


def one_sided_paddings(
    kernel_size: tuple[int, int], padding: Size | Literal["same", "valid"], dilation: tuple[int, int]
) -> Paddings:
    """What the operator must pad to give the output size of a Conv2d.

    With kernel k, padding q, dilation d and centre c = k // 2 the window reaches d*c before and d*(k - 1 - c) behind
    the centre, so top = q - d*c and bottom = q - d*(k - 1 - c). "same" means floor(d*(k - 1) / 2) in front and the rest
    behind, which for an even kernel gives two different paddings, one of them negative.
    """
    before = [dilation[axis] * (kernel_size[axis] // 2) for axis in (0, 1)]
    behind = [dilation[axis] * (kernel_size[axis] - 1) - before[axis] for axis in (0, 1)]
    if padding == "same":
        front = [dilation[axis] * (kernel_size[axis] - 1) // 2 for axis in (0, 1)]
        back = [dilation[axis] * (kernel_size[axis] - 1) - front[axis] for axis in (0, 1)]
    else:
        front = back = [0, 0] if padding == "valid" else list(_pair("padding", padding, None))
    return Paddings(
        top=front[0] - before[0], bottom=back[0] - behind[0], left=front[1] - before[1], right=back[1] - behind[1]
    )


class ActiveConv2d(nn.Module):
    """An Active Convolution Unit: a convolution that learns where its synapses sit.

    A drop-in for `torch.nn.Conv2d`: the same arguments give the same output size, and until the positions move, the
    same output.

    Shapes:
        input: (N, C, H, W) or (C, H, W); output as for Conv2d.
        weight: (O, C/groups, K) with K = kernel height * width, row-major. A state dict with Conv2d's
            (O, C/groups, kh, kw) loads too.
        positions: (G, K, 2), (y, x) in input pixels, float32 whatever the dtype of the layer (float64 after
            `.double()`).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: how many synapses, and the grid on which they start.
        stride: in pixels.
        padding: that of the Conv2d which this layer replaces: an int, a pair, "same" or "valid". Negative padding,
            which Conv2d lacks, crops.
        dilation: of the grid on which the synapses start.
        groups: as in Conv2d.
        bias: whether to learn one.
        padding_mode: "zeros"; a moving synapse has no defined value in another mode.
        device: of all parameters.
        dtype: of weight and bias.
        position_groups: G; output channels are split into G equal groups with positions of their own.
        shape: where the synapses start: "square" (the grid), "circle", "random", or positions (K, 2) or (G, K, 2).
        fix_centre: whether the centre synapse (kh // 2, kw // 2) stays where it starts, as in the paper.

    Raises:
        ValueError: an argument does not fit, with its name.
    """

    operator: Callable[..., Tensor] = staticmethod(active_conv2d)
    """What computes the output; a layer given `active_conv2d_reference` here proves the compiled one."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | Literal["same", "valid"] = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        position_groups: int = 1,
        shape: InitialShape = "square",
        fix_centre: bool = True,
    ) -> None:
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError(
                f"padding_mode must be 'zeros': a synapse that moves has no defined value in {padding_mode!r}"
            )
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"in_channels and out_channels must be positive, not {in_channels} and {out_channels}")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups = {groups} must divide in_channels = {in_channels} and out_channels = {out_channels}"
            )
        if position_groups < 1 or out_channels % position_groups:
            raise ValueError(f"position_groups = {position_groups} must divide out_channels = {out_channels}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"padding must be ints, 'same' or 'valid', not {padding!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair("kernel_size", kernel_size, 1)
        self.stride = _pair("stride", stride, 1)
        self.padding = padding if isinstance(padding, str) else _pair("padding", padding, None)
        self.dilation = _pair("dilation", dilation, 1)
        self.groups = groups
        self.position_groups = position_groups
        self.padding_mode = padding_mode
        if self.padding == "same" and self.stride != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, not {self.stride}")
        self._paddings = one_sided_paddings(self.kernel_size, self.padding, self.dilation)
        synapses = math.prod(self.kernel_size)
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, synapses, device=device, dtype=dtype)
        )
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.shape = shape
        self.fix_centre = fix_centre
        precision = torch.float64 if dtype == torch.float64 else torch.float32
        self.positions = nn.Parameter(torch.empty(position_groups, synapses, 2, device=device, dtype=precision))
        self.reset_parameters()

    @property
    def synapses(self) -> int:
        """K."""
        return self.weight.shape[2]

    @property
    def paddings(self) -> Paddings:
        """What the operator pads, in pixels."""
        return self._paddings

    def reset_parameters(self) -> None:
        """Draws weight and bias as Conv2d does, and puts the synapses back where they start."""
        with torch.no_grad():
            self.positions.copy_(initial_positions(self.shape, self.position_groups, self.kernel_size, self.dilation))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight.shape[1] * self.weight.shape[2])
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) or (C, H, W) to the output of the Conv2d with the same arguments."""
        positions: Tensor = self.positions
        if self.fix_centre:
            # The centre takes part in the sum but gets no gradient, whatever the optimizer does.
            centre = centre_synapse(self.kernel_size)
            at = positions[:, centre : centre + 1].detach()
            positions = torch.cat((positions[:, :centre], at, positions[:, centre + 1 :]), dim=1)
        batch = input.unsqueeze(0) if input.dim() == 3 else input
        output = self.operator(batch, self.weight, positions, self.bias, self.stride, self._paddings, self.groups)
        return output.squeeze(0) if input.dim() == 3 else output

    @torch.no_grad()
    def round_(self) -> ActiveConv2d:
        """Moves every synapse to the nearest pixel of the grid (half to even), in place."""
        self.positions.round_()
        return self

    @classmethod
    def from_conv2d(cls, conv: nn.Conv2d, **options: Any) -> ActiveConv2d:
        """The layer that computes what `conv` does, with its weights, ready to move.

        Args:
            conv: any Conv2d with zero padding.
            options: `position_groups` and `fix_centre`; the shape is the grid of `conv`.

        Raises:
            ValueError: `conv` is transposed, its padding mode is not zeros, or its class computes something else.
        """
        if not isinstance(conv, nn.Conv2d) or type(conv).forward is not nn.Conv2d.forward or is_parametrized(conv):
            kind = f"parametrized {type(conv).__name__}" if is_parametrized(conv) else type(conv).__name__
            raise ValueError(
                f"only a plain Conv2d can become an ActiveConv2d, not a {kind}, which computes something else"
            )
        check_weight(conv)
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
            conv.weight.device,
            conv.weight.dtype,
            **options,
        )
        with torch.no_grad():
            layer.weight.copy_(conv.weight.flatten(2))
            if conv.bias is not None and layer.bias is not None:
                layer.bias.copy_(conv.bias)
        layer.weight.requires_grad_(conv.weight.requires_grad)
        # What was frozen stays as it is, shape and all.
        layer.positions.requires_grad_(conv.weight.requires_grad)
        if conv.bias is not None and layer.bias is not None:
            layer.bias.requires_grad_(conv.bias.requires_grad)
        layer.train(conv.training)
        copy_hooks(conv, layer)
        return layer

    def values_at_rest(self) -> tuple[Tensor, Tensor]:
        """Weight (O, C/groups, K) as it is, and positions (G, K, 2) in float64 on the CPU, for what is made of them.

        Raises:
            ValueError: a position is not finite, the layer is on the meta device, or its class computes something else.
        """
        if type(self).forward is not ActiveConv2d.forward:
            raise ValueError(
                f"only a plain ActiveConv2d can become a Conv2d: {type(self).__name__} has another forward"
            )
        check_weight(self)
        # Once: a parametrized weight may be another one at each look.
        weight = self.weight.detach()
        if weight.is_meta or self.positions.is_meta:
            raise ValueError("a layer on the meta device has no values to convert: load them first")
        # In float64 until a kernel is rounded once; on the CPU, because not every device has float64.
        positions = self.positions.detach().cpu().double()
        if not bool(torch.isfinite(positions).all()):
            raise ValueError(f"positions {tuple(positions.shape)} must be finite")
        return weight, positions

    def to_conv2d(self) -> nn.Conv2d:
        """The ordinary convolution that computes what this layer does, its window as small as the shape allows.

        Raises:
            ValueError: a position is not finite or so far out that the kernel would be huge, the layer is on the meta
                device, or its class computes something else.
        """
        weight, positions = self.values_at_rest()
        rows, columns = smallest_window(positions, self._paddings, weight.shape[:2])
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            (rows.cells, columns.cells),
            self.stride,
            (rows.padding, columns.padding),
            groups=self.groups,
            bias=self.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        )
        with torch.no_grad():
            kernel = dense_kernel(weight.cpu().double(), positions, rows[:2], columns[:2])
            # Rounded before it travels: the layer's device may lack float64.
            conv.weight.copy_(kernel.to(weight.dtype))
            if self.bias is not None and conv.bias is not None:
                conv.bias.copy_(self.bias)
                conv.bias.requires_grad_(self.bias.requires_grad)
        conv.weight.requires_grad_(self.weight.requires_grad)
        conv.train(self.training)
        copy_hooks(self, conv)
        return conv

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> ActiveConv2d:
        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if tensor is not self.positions and tensor is not self.positions.grad:
                return moved
            # A 16-bit float cannot resolve a thousandth of a pixel, so positions do not follow below float32.
            return moved if moved.dtype in (torch.float32, torch.float64) else tensor.to(moved.device, torch.float32)

        super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.get(prefix + "weight")
        if isinstance(weight, Tensor) and weight.dim() == 4 and tuple(weight.shape[2:]) == self.kernel_size:
            state_dict[prefix + "weight"] = weight.flatten(2)
            # Conv2d has no positions: its weights belong on the grid, wherever the synapses are now.
            grid = initial_positions("square", self.position_groups, self.kernel_size, self.dilation)
            state_dict.setdefault(prefix + "positions", grid)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """The arguments that are not Conv2d's defaults, as Conv2d shows them."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        defaults: dict[str, Any] = {"padding": (0, 0), "dilation": (1, 1), "groups": 1, "position_groups": 1}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)!r}"
        return text + (", bias=False" if self.bias is None else "")


def active_layers(model: nn.Module) -> dict[str, ActiveConv2d]:
    """The active layers of a network by qualified name, in the order of its modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, ActiveConv2d)}
