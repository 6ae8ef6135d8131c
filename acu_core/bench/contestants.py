"""Who is compared: the operator, the convolution that it replaces, and the other ways to get a learned shape."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from acu_core.errors import UserError
from acu_core.op import library
from acu_core.op.functional import active_conv2d
from acu_core.op.reference import active_conv2d_reference


@dataclass(frozen=True)
class Shape:
    """N images of C channels and H x W pixels to O channels, K synapses (a square number), one stride."""

    images: int
    channels: int
    outputs: int
    height: int
    width: int
    synapses: int
    stride: int
    groups: int = 1
    position_groups: int = 1

    @classmethod
    def parse(cls, text: str) -> Shape:
        """From "N,C,O,H,W,K,stride". Raises UserError when it is not that."""
        try:
            numbers = [int(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 7 or min(numbers) < 1:
            raise UserError(
                f"a shape is seven positive numbers N,C,O,H,W,K,stride such as 64,48,48,32,32,9,1, not {text!r}"
            )
        shape = cls(*numbers)
        if shape.kernel**2 != shape.synapses or shape.kernel % 2 == 0:
            raise UserError(f"K must be the square of an odd kernel size (1, 9, 25, ...), not {shape.synapses}")
        return shape

    @property
    def kernel(self) -> int:
        """Side of the square kernel with as many weights."""
        return math.isqrt(self.synapses)

    def __str__(self) -> str:
        text = f"{self.channels}"
        if self.outputs != self.channels:
            text += f"->{self.outputs}"
        text += f" at {self.height}x{self.width}"
        if self.stride > 1:
            text += f" /{self.stride}"
        if self.kernel != 3:
            text += f", {self.kernel}x{self.kernel}"
        if self.groups > 1:
            text += f", {self.groups} groups"
        if self.position_groups > 1:
            text += f", {self.position_groups} position groups"
        return f"{text}, batch {self.images}"


# The units of the plain CIFAR-10 network, then what other networks ask of a convolution.
SHAPES = (
    Shape(64, 48, 48, 32, 32, 9, 1),
    Shape(64, 96, 96, 16, 16, 9, 1),
    Shape(64, 192, 192, 8, 8, 9, 1),
    Shape(64, 48, 96, 32, 32, 9, 2),
    Shape(64, 96, 192, 16, 16, 9, 2),
)
FURTHER_SHAPES = (
    Shape(64, 3, 16, 32, 32, 9, 1),
    Shape(64, 16, 48, 32, 32, 9, 1),
    Shape(64, 192, 192, 8, 8, 25, 1),
    Shape(1, 64, 64, 56, 56, 9, 1),
    Shape(16, 64, 64, 112, 112, 9, 1),
    Shape(64, 96, 96, 16, 16, 9, 1, groups=96),
    Shape(64, 384, 384, 14, 14, 9, 1, groups=384),
    Shape(64, 384, 384, 7, 7, 9, 1, groups=384),
    Shape(64, 96, 96, 16, 16, 9, 1, groups=96, position_groups=96),
    Shape(64, 96, 96, 16, 16, 9, 1, position_groups=4),
)


@dataclass
class Contestant:
    """One way to compute the same: `forward` gives (N, O, OH, OW) from `leaves`, whose gradients are timed."""

    forward: Callable[[], Tensor]
    leaves: tuple[Tensor, ...]
    weight: Tensor
    exact: bool = True  # whether it computes the same numbers as the others
    instruction_set: str | None = None  # of the CPU kernels; None: the best, or the one that was chosen
    waits: bool = False  # for a GPU on its way, to know what to do next
    grad_output: Tensor = field(init=False)

    def run_forward(self) -> None:
        """One forward without a graph."""
        with torch.no_grad(), self._kernels():
            self.forward()

    def run(self) -> None:
        """One forward and backward."""
        with self._kernels():
            torch.autograd.grad(self.forward(), self.leaves, self.grad_output)

    def values(self) -> dict[str, Tensor]:
        """Output and gradients by name."""
        with self._kernels():
            output = self.forward()
            gradients = torch.autograd.grad(output, self.leaves, self.grad_output)
        names = ("input", "weight", "positions")[: len(gradients)]
        return {"output": output, **dict(zip(names, gradients, strict=True))}

    def _kernels(self) -> AbstractContextManager[None]:
        return nullcontext() if self.instruction_set is None else library.with_instruction_set(self.instruction_set)


def make_contestants(
    shape: Shape,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    tf32: bool = False,
    slow: bool = True,
    on_grid: bool = False,
    checked: bool = True,
    instruction_sets: Sequence[str] = (),
) -> dict[str, Contestant]:
    """All contestants for a shape, on the same numbers: image, weight, positions and the output's gradient.

    The ordinary convolution has the same weight on the grid: the same work, other numbers (with `on_grid`, the same
    ones). With `slow`, the dense
    formulation, `deform_conv2d` and DCLS (where it is installed and can express the shape) are among them. `checked`
    runs each once and compares, with the tolerance of TF32 where `tf32` says that PyTorch may use it. With
    `instruction_sets` there is an operator for each of them, on the CPU.

    Raises:
        RuntimeError: two contestants that should agree do not.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(shape.images, shape.channels, shape.height, shape.width, generator=generator)
    scale = (shape.channels // shape.groups * shape.synapses) ** -0.5
    weight = scale * torch.randn(shape.outputs, shape.channels // shape.groups, shape.synapses, generator=generator)
    reach = shape.kernel // 2
    grid = torch.tensor(
        [[y, x] for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)], dtype=torch.float32
    )
    shift = 0.8 * torch.rand(shape.position_groups, shape.synapses, 2, generator=generator) + 0.1
    positions = grid + (0 if on_grid else shift - 0.5)
    positions = positions.expand(shape.position_groups, -1, -1).contiguous()
    out_size = [(side - 1) // shape.stride + 1 for side in (shape.height, shape.width)]
    gradient = torch.randn(shape.images, shape.outputs, *out_size, generator=generator)
    layouts = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    contestants: dict[str, Contestant] = {}

    def add(
        name: str,
        layout: str,
        forward: Callable[..., Tensor],
        *leaves: Tensor,
        exact: bool = True,
        instruction_set: str | None = None,
        waits: bool = False,
    ) -> None:
        moved = tuple(
            leaf.to(device, leaf.dtype if leaf is positions else dtype)
            .clone(memory_format=torch.preserve_format)
            .requires_grad_()
            for leaf in leaves
        )
        contestant = Contestant(lambda: forward(*moved), moved, moved[1], exact, instruction_set, waits)
        contestant.grad_output = gradient.to(device, dtype).contiguous(memory_format=layouts[layout])
        contestants[name] = contestant

    def ours(x: Tensor, w: Tensor, p: Tensor) -> Tensor:
        return active_conv2d(x, w, p, stride=shape.stride, groups=shape.groups)

    def convolution(x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, stride=shape.stride, padding=reach, groups=shape.groups)

    for layout, memory_format in layouts.items():
        laid_out = image.contiguous(memory_format=memory_format)
        for one in instruction_sets or (None,):
            name = f"acu {layout}" if one is None else f"acu {layout}, {one}"
            add(name, layout, ours, laid_out, weight, positions, instruction_set=one)
        square = weight.unflatten(2, (shape.kernel, shape.kernel)).contiguous(memory_format=memory_format)
        add(f"conv2d {layout}", layout, convolution, laid_out, square, exact=on_grid)
    if slow:
        deforms = not left_out(device.type, dtype)
        _add_alternatives(shape, image, weight, positions, grid, out_size, add, deforms=deforms)
    if checked:
        _check_equal(contestants, tolerance=1e-3 if dtype == torch.float32 and not tf32 else 1e-2)
    return contestants


def left_out(device: str = "cpu", dtype: torch.dtype = torch.float32) -> list[str]:
    """A sentence for each alternative that cannot be compared here: its package does not load, or has no such kernel.

    DCLS is not among them: it is an extra, and compared where it was installed.
    """
    if device == "cpu" and dtype.itemsize < 4:
        return ["deform_conv2d is left out: torchvision has none of 16 bits for the CPU"]
    try:
        _deform_conv2d()
    except (ImportError, RuntimeError, OSError) as error:
        return [f"deform_conv2d is left out: torchvision does not load here ({error})"]
    return []


def _deform_conv2d() -> Callable[..., Tensor]:
    # torchvision's wheel raises RuntimeError beside a torch that it was not built for.
    from torchvision.ops import deform_conv2d

    found: Callable[..., Tensor] = deform_conv2d
    return found


def _add_alternatives(
    shape: Shape,
    image: Tensor,
    weight: Tensor,
    positions: Tensor,
    grid: Tensor,
    out_size: list[int],
    add: Callable[..., None],
    *,
    deforms: bool,
) -> None:
    def dense(x: Tensor, w: Tensor, p: Tensor) -> Tensor:
        return active_conv2d_reference(x, w, p, stride=shape.stride, groups=shape.groups)

    # It asks for the window of the positions.
    add("dense kernel", "contiguous", dense, image, weight, positions, waits=True)
    if shape.position_groups > 1:
        return
    offset = (positions[0] - grid).reshape(1, -1, 1, 1).expand(shape.images, -1, *out_size).contiguous()

    if shape.groups == 1 and deforms:
        deform_conv2d = _deform_conv2d()

        def deformable(x: Tensor, w: Tensor) -> Tensor:
            return deform_conv2d(x, offset.to(x), w, stride=shape.stride, padding=shape.kernel // 2)

        square = weight.reshape(*weight.shape[:2], shape.kernel, shape.kernel)
        add("deform_conv2d", "contiguous", deformable, image, square)
    if importlib.util.find_spec("DCLS") is not None:
        from DCLS.construct.modules import ConstructKernel2d

        window = shape.kernel + 2
        construct = ConstructKernel2d(
            shape.outputs, shape.channels, shape.groups, shape.synapses, (window, window), "v1"
        )
        # DCLS has positions for every kernel, x first in this version of its interpolation.
        spots = positions[0].flip(1).T.reshape(2, 1, 1, -1).expand(2, *weight.shape)

        def dcls(x: Tensor, w: Tensor) -> Tensor:
            kernel = construct(w, spots.to(x), None)
            return F.conv2d(x, kernel, stride=shape.stride, padding=window // 2, groups=shape.groups)

        add("DCLS", "contiguous", dcls, image, weight)


def _check_equal(contestants: dict[str, Contestant], *, tolerance: float) -> None:
    """Compares values and gradients, that of the positions too where two contestants have one."""
    expected: dict[str, Tensor] = {}
    for name, contestant in contestants.items():
        if not contestant.exact:
            continue
        for key, actual in contestant.values().items():
            flat = actual.detach().float().flatten(2)
            right = expected.setdefault(key, flat)
            error = ((flat - right).norm() / right.norm()).item()
            if not error < tolerance:
                raise RuntimeError(f"{name} computes another {key} than the others: relative error {error:.2e}")
