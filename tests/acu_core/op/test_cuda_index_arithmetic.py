"""The CUDA operator without a GPU: the system's C++ compiler builds its sources, CPU tensors run them, a gather judges.

What is left to a GPU: the launches and cuBLAS. Index arithmetic, slices, matrix views, sums and layouts are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from operator_on_host import DEFAULTS, compiler, operator_on_host
from torch import Tensor

from acu_core.op.paddings import Paddings

# Scratch memory in bytes, and threads.
DIVISIONS = {"whole": DEFAULTS, "stretches": (256 << 20, 200), "cut images": (3000, 40), "one pixel a slice": (1, 1)}


@pytest.fixture(scope="module")
def operator() -> Any:
    """The CUDA operator as torch.ops.acu_cuda_on_host, on CPU tensors."""
    if compiler() is None:
        pytest.skip("there is no C++ compiler on this machine")
    return operator_on_host()


@pytest.fixture(params=DIVISIONS)
def division(operator: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    """The ways in which the work is divided into slices and stretches."""
    operator.configure(*DIVISIONS[request.param])
    yield
    operator.configure(*DEFAULTS)


NO_PADDING = Paddings(0, 0, 0, 0)


@dataclass(frozen=True)
class Case:
    """A shape of the operator."""

    images: int = 2
    channels: int = 4
    outputs: int = 6
    size: tuple[int, int] = (5, 6)
    synapses: int = 3
    stride: tuple[int, int] = (1, 1)
    padding: Paddings = NO_PADDING
    groups: int = 1
    position_groups: int = 1
    positions: tuple[tuple[float, float], ...] = field(default=())

    def draw(self, dtype: torch.dtype, seed: int = 0) -> SimpleNamespace:
        """Random arguments, in dtype with positions in float32 (float64 for float64)."""
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        places = torch.float64 if dtype == torch.float64 else torch.float32
        positions = 2 * normal(self.position_groups, self.synapses, 2)
        for synapse, position in enumerate(self.positions):
            positions[:, synapse] = torch.tensor(position, dtype=torch.float64)
        return SimpleNamespace(
            input=normal(self.images, self.channels, *self.size).to(dtype),
            weight=normal(self.outputs, self.channels // self.groups, self.synapses).to(dtype),
            positions=positions.to(places),
            bias=normal(self.outputs).to(dtype),
        )

    @property
    def numbers(self) -> tuple[tuple[int, int], Paddings, int]:
        """Strides, paddings and groups in the order of the schema."""
        return self.stride, self.padding, self.groups


CASES = {
    "vectors of 4": Case(channels=8),
    "vectors of 8": Case(channels=16, outputs=4, padding=Paddings(1, 1, 1, 1)),
    "odd channels": Case(channels=3, outputs=5, stride=(2, 1), padding=Paddings(top=1, bottom=2, left=0, right=1)),
    "3x3 on the grid": Case(synapses=9, positions=tuple((y, x) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0))),
    "one synapse, one pixel": Case(images=1, channels=1, outputs=1, size=(1, 1), synapses=1, positions=((0.25, -0.5),)),
    "stride 3, negative padding": Case(
        size=(11, 9), stride=(3, 2), padding=Paddings(top=-2, bottom=1, left=1, right=-1)
    ),
    "groups": Case(channels=8, outputs=12, groups=4),
    "depthwise": Case(channels=6, outputs=6, groups=6, padding=Paddings(1, 1, 1, 1)),
    "depthwise, vectors": Case(channels=16, outputs=16, groups=16, synapses=9, padding=Paddings(1, 1, 1, 1)),
    "depthwise, several outputs a channel": Case(channels=8, outputs=24, groups=8, stride=(2, 1)),
    "depthwise, position groups": Case(channels=16, outputs=16, groups=16, position_groups=2, stride=(1, 2)),
    "depthwise, position groups within a channel": Case(channels=4, outputs=8, groups=4, position_groups=8),
    "depthwise, stride 3": Case(
        channels=8,
        outputs=8,
        size=(11, 9),
        groups=8,
        stride=(3, 2),
        padding=Paddings(top=-2, bottom=1, left=1, right=-1),
    ),
    "position groups": Case(channels=8, outputs=8, position_groups=4),
    "groups within position groups": Case(channels=8, outputs=8, groups=4, position_groups=2, stride=(2, 2)),
    "groups across position groups": Case(channels=8, outputs=12, groups=2, position_groups=3),
    "far outside": Case(positions=((1e30, 0.5), (-1e30, 2.0e9), (40.25, -3.0e9))),
    "next to the grid": Case(positions=((1e-7, -1e-7), (0.9999999, 1.0000001), (-1e-30, 1e-30))),
    "rectangular": Case(size=(3, 17), padding=Paddings(top=4, bottom=0, left=0, right=9), stride=(1, 4)),
}


def gather(input: Tensor, weight: Tensor, positions: Tensor, case: Case, *, skip_zero: bool = False) -> Tensor:
    """The operator's definition, a corner at a time; autograd gives the right-hand derivative."""
    height, width = case.size
    top, bottom, left, right = case.padding
    rows = torch.arange((height + top + bottom - 1) // case.stride[0] + 1) * case.stride[0] - top
    columns = torch.arange((width + left + right - 1) // case.stride[1] + 1) * case.stride[1] - left
    whole = positions.detach().floor()
    fraction = positions - whole
    cell = whole.clamp(-1e6, 1e6).long()
    outputs = []
    for output in range(case.outputs):
        places = output // (case.outputs // case.position_groups)
        first = output // (case.outputs // case.groups) * weight.shape[1]
        planes = input[:, first : first + weight.shape[1]]
        total = input.new_zeros(case.images, len(rows), len(columns))
        for synapse in range(case.synapses):
            down, beside = fraction[places, synapse]
            for below in (0, 1):
                for next_to in (0, 1):
                    coefficient = (down if below else 1 - down) * (beside if next_to else 1 - beside)
                    if skip_zero and coefficient == 0:
                        continue
                    y = rows + cell[places, synapse, 0] + below
                    x = columns + cell[places, synapse, 1] + next_to
                    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]
                    seen = planes[:, :, y.clamp(0, height - 1)][:, :, :, x.clamp(0, width - 1)]
                    seen = torch.where(inside, seen, torch.zeros_like(seen))
                    total = total + coefficient * torch.einsum("nchw,c->nhw", seen, weight[output, :, synapse])
        outputs.append(total)
    return torch.stack(outputs, 1)


def forward(operator: Any, drawn: SimpleNamespace, case: Case, *, channels_last: bool = False) -> Tensor:
    """The operator under test on the drawn arguments; no bias where that is None."""
    arguments = (drawn.input, drawn.weight, drawn.positions, drawn.bias)
    result: Tensor = operator.active_conv2d(*arguments, *case.numbers, channels_last)
    return result


def backward(
    operator: Any,
    grad_output: Tensor,
    drawn: SimpleNamespace,
    case: Case,
    *,
    channels_last: bool = False,
    wanted: tuple[int, ...] = (1, 1, 1, 1),
) -> tuple[Tensor, ...]:
    """The gradients of input, weight, positions and bias under test."""
    arguments = (grad_output, drawn.input, drawn.weight, drawn.positions)
    result: tuple[Tensor, ...] = operator.active_conv2d_backward(
        *arguments, *case.numbers, channels_last, *map(bool, wanted)
    )
    return result


TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal within tolerance of the largest expected number."""
    assert actual.shape == expected.shape
    scale = max(float(expected.abs().max()), 1e-3) if expected.numel() else 1.0
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients(operator: Any, division: None, name: str, dtype: torch.dtype) -> None:
    """Value and all four gradients agree with the gather in both layouts, however the work is divided."""
    case = CASES[name]
    drawn = case.draw(dtype)
    leaves = [t.double().clone().requires_grad_() for t in (drawn.input, drawn.weight, drawn.positions, drawn.bias)]
    expected = gather(leaves[0], leaves[1], leaves[2], case) + leaves[3][None, :, None, None]
    grad_output = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected_gradients = torch.autograd.grad(expected, leaves, grad_output.double())

    for channels_last in (False, True):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        drawn.input = drawn.input.to(memory_format=layout)
        actual = forward(operator, drawn, case, channels_last=channels_last)
        assert actual.dtype == dtype
        assert actual.stride() == torch.empty(actual.shape, memory_format=layout).stride()
        assert_near(actual, expected.detach(), TOLERANCES[dtype])
        gradients = backward(operator, grad_output, drawn, case, channels_last=channels_last)
        assert gradients[0].stride() == torch.empty(drawn.input.shape, memory_format=layout).stride()
        for gradient, wanted, argument in zip(gradients, expected_gradients, vars(drawn).values(), strict=True):
            assert gradient.dtype == argument.dtype
            assert_near(gradient, wanted, TOLERANCES[dtype])


@pytest.mark.parametrize("name", ["groups across position groups", "depthwise, position groups"])
@pytest.mark.parametrize("wanted", [(i, w, p, b) for i in (0, 1) for w in (0, 1) for p in (0, 1) for b in (0, 1)])
def test_only_the_wanted_gradients(operator: Any, division: None, wanted: tuple[int, ...], name: str) -> None:
    """A gradient does not depend on which others are asked for; the rest are empty."""
    case = CASES[name]
    drawn = case.draw(torch.float32)
    grad_output = torch.randn(forward(operator, drawn, case).shape, generator=torch.Generator().manual_seed(1))
    everything = backward(operator, grad_output, drawn, case)
    some = backward(operator, grad_output, drawn, case, wanted=wanted)
    for wish, gradient, full in zip(wanted, some, everything, strict=True):
        if wish:
            torch.testing.assert_close(gradient, full)
        else:
            assert gradient.shape == (0,)


@pytest.mark.parametrize("groups", [1, 8])
def test_strided_arguments(operator: Any, division: None, groups: int) -> None:
    """Slices, expanded gradients and odd strides are read as what they show."""
    case = Case(channels=8, outputs=8, groups=groups)
    drawn = case.draw(torch.float32)
    wide = torch.full((2, 8, 5, 14), torch.nan)
    wide[..., 1:13:2] = drawn.input
    strided = SimpleNamespace(
        input=wide[..., 1:13:2],
        weight=drawn.weight.transpose(0, 2).contiguous().transpose(0, 2),
        positions=drawn.positions.flip(2).contiguous().flip(2),
        bias=drawn.bias.repeat_interleave(2)[::2],
    )
    expected = forward(operator, drawn, case)
    torch.testing.assert_close(forward(operator, strided, case), expected, rtol=0, atol=0)
    ones = torch.ones(()).expand(expected.shape)
    gradients = [
        backward(operator, gradient, arguments, case)
        for gradient, arguments in ((ones, strided), (ones.contiguous(), drawn))
    ]
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


@pytest.fixture
def garbage() -> Iterator[None]:
    """New memory is full of NaN: zeros that nobody wrote, as fresh memory of the CPU often is, are found."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("garbage")
@pytest.mark.parametrize(("outputs", "groups"), [(6, 1), (4, 4), (8, 4)])
def test_no_images(operator: Any, division: None, outputs: int, groups: int) -> None:
    """An empty batch has an empty output and zero gradients."""
    case = Case(images=0, outputs=outputs, groups=groups)
    drawn = case.draw(torch.float32)
    output = forward(operator, drawn, case)
    assert output.shape == (0, outputs, 5, 6)
    gradients = backward(operator, output, drawn, case, channels_last=True)
    for gradient, argument in zip(gradients, vars(drawn).values(), strict=True):
        assert gradient.shape == argument.shape
        assert not gradient.any()


@pytest.mark.parametrize("place", [(0.0, float("nan")), (float("nan"), 0.5), (float("inf"), 0.0), (0.5, float("-inf"))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(4, 6, 1), (4, 4, 4), (4, 8, 4)], ids=["ordinary", "depthwise", "two each"])
def test_positions_that_are_not_finite(
    operator: Any, division: None, dtype: torch.dtype, place: tuple[float, float], shape: tuple[int, int, int]
) -> None:
    """What such a synapse feeds is NaN, the gradients of input and positions too; nothing is read out of bounds."""
    channels, outputs, groups = shape
    case = Case(
        channels=channels,
        outputs=outputs,
        groups=groups,
        padding=Paddings(3, 3, 3, 3),
        positions=((0.0, 0.0), place),
    )
    drawn = case.draw(dtype)
    output = forward(operator, drawn, case)
    assert output.isnan().all()
    gradients = backward(operator, torch.ones_like(output), drawn, case)
    assert gradients[0].isnan().all()
    assert gradients[2][0, 1].isnan().any()
    assert gradients[2][0, 0].isfinite().all()


@pytest.mark.parametrize("poison", [float("inf"), float("nan")])
def test_a_corner_that_does_not_count_is_not_read(operator: Any, poison: float) -> None:
    """An inf or NaN pixel reaches exactly the outputs whose coefficient for it is not 0."""
    places = ((0.0, 0.0), (1.0, -0.5), (-0.25, 2.0))
    for channels, groups in ((1, 1), (8, 1), (6, 6), (8, 8)):
        outputs = 6 if groups == 1 else channels
        case = Case(channels=channels, outputs=outputs, groups=groups, positions=places, padding=Paddings(1, 1, 1, 1))
        drawn = case.draw(torch.float32)
        drawn.weight = drawn.weight.abs()
        drawn.bias = None
        drawn.input[0, 0, 2, 3] = poison
        expected = gather(drawn.input, drawn.weight, drawn.positions, case, skip_zero=True)
        actual = forward(operator, drawn, case)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4, equal_nan=True)
        assert 0 < int((~actual.isfinite()).sum()) < actual.numel()


def test_shapes_that_would_read_out_of_bounds_are_refused(operator: Any) -> None:
    """The last line of defence names the argument."""
    case = Case()
    drawn = case.draw(torch.float32)
    for name, wrong in {
        "positions": drawn.positions[:, :2],
        "weight": drawn.weight[:, :3],
        "bias": drawn.bias[:4],
        "input": drawn.input[0],
    }.items():
        broken = SimpleNamespace(**{**vars(drawn), name: wrong})
        with pytest.raises(RuntimeError):
            forward(operator, broken, case)
    with pytest.raises(RuntimeError):
        forward(operator, drawn, Case(position_groups=1, padding=Paddings(top=-3, bottom=-2, left=0, right=0)))
    with pytest.raises(RuntimeError):
        forward(operator, drawn, Case(padding=Paddings(1 << 40, 0, 0, 0)))
    with pytest.raises(RuntimeError):
        backward(operator, drawn.input[:, :, 1:], drawn, case)


@pytest.mark.parametrize("groups", [1, 8])
def test_addresses_that_allow_no_vectors(operator: Any, division: None, groups: int) -> None:
    """Tensors that do not start at a multiple of 16 bytes are read one number at a time."""
    case = Case(channels=8, outputs=8, groups=groups, synapses=1, positions=((0.25, -0.5),))
    drawn = case.draw(torch.float32)
    drawn.input = drawn.input.to(memory_format=torch.channels_last)
    expected = forward(operator, drawn, case, channels_last=True)
    grad_output = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    grad_output = grad_output.to(memory_format=torch.channels_last)
    gradients = backward(operator, grad_output, drawn, case, channels_last=True)

    def moved(tensor: Tensor) -> Tensor:
        memory = torch.full((tensor.numel() + 1,), torch.nan)
        return torch.as_strided(memory, tensor.shape, tensor.stride(), 1).copy_(tensor)

    elsewhere = SimpleNamespace(**{name: moved(tensor) for name, tensor in vars(drawn).items()})
    assert elsewhere.input.data_ptr() % 16 == 4
    torch.testing.assert_close(forward(operator, elsewhere, case, channels_last=True), expected)
    found = backward(operator, moved(grad_output), elsewhere, case, channels_last=True)
    for first, second in zip(found, gradients, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_weight_gradient_is_rounded_to_16_bits_once(operator: Any, dtype: torch.dtype) -> None:
    """However many slices it is a sum of: added up in 16 bits, 2048 + 1 - 2048 is 0."""
    case = Case(images=1, channels=1, outputs=1, size=(1, 4), synapses=1, positions=((0.0, 0.0),))
    drawn = case.draw(dtype)
    drawn.input = torch.tensor([2048.0, 1.0, -2048.0, 0.0], dtype=dtype).reshape(1, 1, 1, 4)
    ones = torch.ones(1, 1, 1, 4, dtype=dtype)
    for pixels in (4, 2, 1):
        operator.configure(pixels * dtype.itemsize, 1)
        _, weight, _, _ = backward(operator, ones, drawn, case)
        assert weight.item() == 1, f"{pixels} pixels a slice"
    operator.configure(*DEFAULTS)


def test_the_same_bits_however_often(operator: Any, division: None) -> None:
    """Every sum has one owner and one order, and starts from nothing that a call has left behind."""
    for name in ("groups within position groups", "depthwise, vectors", "odd channels"):
        case = CASES[name]
        drawn = case.draw(torch.float32)
        output = forward(operator, drawn, case)
        grad_output = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
        gradients = backward(operator, grad_output, drawn, case)
        for size in (50, 5000, 500_000):
            torch.full((size,), torch.nan)
            again = backward(operator, grad_output, drawn, case)
            assert all(torch.equal(first, second) for first, second in zip(again, gradients, strict=True))
