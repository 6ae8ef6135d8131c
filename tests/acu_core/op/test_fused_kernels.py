"""The fused CUDA kernels without a GPU: a stand-in runs their blocks on the CPU, and plain PyTorch in float64 judges.

What is left to a GPU: the launches, and what the hardware adds up in which order within a product.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fused_cases import CASES, Case
from oracles import gather, products
from torch import Tensor
from torch.utils.cpp_extension import include_paths, library_paths

from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference

CUDA_SOURCES = Path(__file__).parents[3] / "acu_core" / "op" / "csrc" / "cuda"
NAMES = ("input", "weight", "positions", "bias")
# What rounding to the dtype may change, relatively; float32 stands for TF32.
ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-11}
DTYPES = list(ROUNDING)
UP, DOWN = 0, 1


@pytest.fixture(scope="module")
def compiler() -> str:
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler on this machine")
    return compiler


@pytest.fixture(scope="module")
def operator(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The fused kernels as torch.ops.acu_fused_on_host, on CPU tensors."""
    library = tmp_path_factory.mktemp("fused_on_host") / "fused_on_host.so"
    command = [compiler, "-std=c++20", "-O2", "-fPIC", "-shared", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
    command += [f"-I{path}" for path in [CUDA_SOURCES, *include_paths()]]
    command += [str(Path(__file__).with_name("fused_on_host.cpp")), "-o", str(library)]
    command += [f"-L{path}" for path in library_paths()] + ["-ltorch_cpu"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    return torch.ops.acu_fused_on_host


@contextmanager
def in_order(operator: Any, order: int) -> Iterator[None]:
    """Lets the threads of a block run in this order from barrier to barrier."""
    operator.run_in_order(order)
    yield
    operator.run_in_order(UP)


def forward(operator: Any, drawn: SimpleNamespace, case: Case, *, channels_last: bool = True) -> Tensor:
    """The kernels' output; no bias where that is None."""
    arguments = (drawn.input, drawn.weight, drawn.positions, drawn.bias)
    result: Tensor = operator.active_conv2d(*arguments, *case.numbers, channels_last)
    return result


def backward(
    operator: Any,
    drawn: SimpleNamespace,
    case: Case,
    *,
    channels_last: bool = True,
    wanted: tuple[int, ...] = (1, 1, 1, 1),
) -> tuple[Tensor, ...]:
    """The gradients of input, weight, positions and bias; with a stride none of the input."""
    wanted = (wanted[0] and case.stride == (1, 1), *wanted[1:])
    arguments = (drawn.grad_output, drawn.input, drawn.weight, drawn.positions)
    result: tuple[Tensor, ...] = operator.active_conv2d_backward(
        *arguments, *case.numbers, channels_last, *map(bool, wanted)
    )
    return result


def assert_near(name: str, actual: Tensor, expected: Tensor, allowed: Tensor) -> None:
    """Each element within what is allowed for it."""
    assert actual.shape == expected.shape, name
    beyond = (actual.double() - expected.double()).abs() - allowed
    assert bool((beyond <= 0).all()), f"{name}: {beyond.max().item()} beyond {allowed.max().item()}"


@pytest.mark.parametrize(
    ("dtype", "order"), list(zip(DTYPES, (UP, DOWN, DOWN), strict=True)), ids=["float16", "bfloat16", "tf32"]
)
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients(operator: Any, name: str, dtype: torch.dtype, order: int) -> None:
    """As exact as the numbers that are multiplied: sums are float32, whatever is rounded is rounded once."""
    case = CASES[name]
    drawn = case.draw(dtype)
    assert operator.supports(drawn.input, drawn.weight, drawn.positions, *case.numbers)
    leaves = [getattr(drawn, name).double().requires_grad_() for name in NAMES]
    expected = active_conv2d_reference(*leaves, *case.numbers)
    gradients = torch.autograd.grad(expected, leaves, drawn.grad_output.double())
    sizes = products(*(leaf.detach() for leaf in leaves), drawn.grad_output, *case.numbers)

    once, exact = ROUNDING[dtype], 2e-6
    tf32 = dtype == torch.float32
    # How many times something is rounded on the way: in blending, in the output; TF32 rounds weights and images too.
    times = {
        "output": 2,
        "input": 2,
        "weight": 2 if tf32 else 1,
        "positions": 2 if tf32 else 0,
        "bias": 0 if tf32 else 1,
    }
    channels_last = dtype == torch.bfloat16
    layout = torch.channels_last if channels_last else torch.contiguous_format
    drawn.input = drawn.input.contiguous(memory_format=layout)
    with in_order(operator, order):
        output = forward(operator, drawn, case, channels_last=channels_last)
        results = backward(operator, drawn, case, channels_last=channels_last)
    assert output.dtype == dtype
    assert output.stride() == torch.empty(output.shape, memory_format=layout).stride()
    assert_near("output", output, expected.detach(), (times["output"] * once + exact) * sizes.output)
    for argument, result, wanted in zip(NAMES, results, gradients, strict=True):
        if argument == "input" and case.stride != (1, 1):
            assert result.shape == (0,)
            continue
        assert result.dtype == getattr(drawn, argument).dtype
        assert_near(argument, result, wanted, (times[argument] * once + exact) * getattr(sizes, argument))


def test_what_is_multiplied_is_rounded_as_tf32_and_nothing_else(operator: Any) -> None:
    """With one synapse on the grid, the output is the product of images and weights of ten bits."""
    case = Case(size=(5, 5), channels=16, outputs=16, synapses=1, positions=((0.0, 0.0),))
    drawn = case.draw(torch.float32)
    drawn.bias = None

    def rounded(numbers: Tensor) -> Tensor:
        bits = numbers.view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)

    model = torch.einsum("nchw,oc->nohw", rounded(drawn.input).double(), rounded(drawn.weight).double()[..., 0])
    torch.testing.assert_close(forward(operator, drawn, case).double(), model, rtol=0, atol=1e-5)
    plain = torch.einsum("nchw,oc->nohw", drawn.input.double(), drawn.weight.double()[..., 0])
    assert (plain - model).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", DTYPES, ids=["float16", "bfloat16", "tf32"])
def test_sums_are_float32(operator: Any, dtype: torch.dtype) -> None:
    """Of 4096 ones none is lost, where a 16-bit sum would stop at 256 or 2048."""
    case = Case(images=4, size=(32, 32), synapses=1, positions=((0.0, 0.0),))
    drawn = case.draw(dtype)
    drawn.input = torch.ones_like(drawn.input)
    drawn.grad_output = torch.ones_like(drawn.grad_output)
    gradients = backward(operator, drawn, case, wanted=(0, 1, 1, 1))
    assert torch.equal(gradients[1], torch.full_like(gradients[1], 4096))
    assert torch.equal(gradients[3], torch.full_like(gradients[3], 4096))


@pytest.mark.parametrize("wanted", [(i, w, p, b) for i in (0, 1) for w in (0, 1) for p in (0, 1) for b in (0, 1)])
def test_only_the_wanted_gradients(operator: Any, wanted: tuple[int, ...]) -> None:
    """A gradient does not depend on which others are asked for; the rest are empty."""
    case = CASES["groups across position groups"]
    drawn = case.draw(torch.float16)
    everything = backward(operator, drawn, case)
    for wish, gradient, full in zip(wanted, backward(operator, drawn, case, wanted=wanted), everything, strict=True):
        if wish:
            torch.testing.assert_close(gradient, full, rtol=1e-3, atol=1e-4)
        else:
            assert gradient.shape == (0,)


@pytest.mark.parametrize("name", ["odd channels", "several tiles", "many small images", "position groups"])
def test_the_same_bits_whatever_the_order_of_threads(operator: Any, name: str) -> None:
    case = CASES[name]
    drawn = case.draw(torch.float16)
    results = []
    for order in (UP, DOWN):
        with in_order(operator, order):
            results.append((forward(operator, drawn, case), *backward(operator, drawn, case)))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["several tiles", "groups across position groups"])
def test_two_launches_forward_and_five_backward(operator: Any, name: str) -> None:
    """And nothing of PyTorch's but memory, where tensors are in channels_last."""
    case = CASES[name]
    drawn = case.draw(torch.float16)
    drawn.input = drawn.input.contiguous(memory_format=torch.channels_last)
    drawn.grad_output = drawn.grad_output.contiguous(memory_format=torch.channels_last)
    operator.launches()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        forward(operator, drawn, case)
        assert operator.launches() == 2
        backward(operator, drawn, case)
        assert operator.launches() == 5
    called = {event.key for event in profile.key_averages() if event.key.startswith("aten::")}
    assert called <= {"aten::empty", "aten::contiguous"}


def test_strided_arguments(operator: Any) -> None:
    """Slices, expanded gradients and odd addresses are read as what they show."""
    case = CASES["several tiles"]
    drawn = case.draw(torch.float16)
    wide = torch.full((1, 8, 19, 68), torch.nan, dtype=torch.float16)
    wide[..., 1:67:2] = drawn.input
    memory = torch.zeros(drawn.weight.numel() + 1, dtype=torch.float16)
    strided = SimpleNamespace(
        input=wide[..., 1:67:2],
        weight=memory[1:].view(drawn.weight.shape).copy_(drawn.weight),
        positions=drawn.positions.flip(2).contiguous().flip(2),
        bias=drawn.bias.repeat_interleave(2)[::2],
    )
    assert torch.equal(forward(operator, strided, case), forward(operator, drawn, case))
    strided.grad_output = torch.ones((), dtype=torch.float16).expand(drawn.grad_output.shape)
    drawn.grad_output = strided.grad_output.contiguous()
    for first, second in zip(backward(operator, strided, case), backward(operator, drawn, case), strict=True):
        assert torch.equal(first, second)


def test_no_images(operator: Any) -> None:
    """An empty batch has an empty output and zero gradients."""
    case = Case(images=0)
    drawn = case.draw(torch.float16)
    assert forward(operator, drawn, case).shape == (0, 8, 6, 7)
    for name, gradient in zip(NAMES, backward(operator, drawn, case), strict=True):
        assert gradient.shape == getattr(drawn, name).shape
        assert not gradient.any()


@pytest.mark.parametrize("place", [(0.0, float("nan")), (float("nan"), 0.5), (float("inf"), 0.0), (0.5, float("-inf"))])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=["float16", "tf32"])
def test_positions_that_are_not_finite(operator: Any, dtype: torch.dtype, place: tuple[float, float]) -> None:
    """What such a synapse feeds is NaN, the gradients of input and positions too; nothing is read out of bounds."""
    case = Case(padding=Paddings(3, 3, 3, 3), positions=((0.0, 0.0), place))
    drawn = case.draw(dtype)
    assert forward(operator, drawn, case).isnan().all()
    gradients = backward(operator, drawn, case)
    assert gradients[0].isnan().all()
    assert gradients[1][:, :, 1].isnan().all()
    assert gradients[1][:, :, 0].isfinite().all()
    assert gradients[2][0, 1].isnan().any()
    assert gradients[2][0, 0].isfinite().all()


@pytest.mark.parametrize(
    ("poison", "dtype"),
    [
        (float("inf"), torch.float16),
        (float("-inf"), torch.bfloat16),
        (float("nan"), torch.float32),
        (float("inf"), torch.float32),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["integer", "row", "column", "fraction", "just below"])
@pytest.mark.parametrize("pixel", [(2, 5), (0, 8), (4, 0)], ids=str)
def test_a_corner_that_does_not_count_is_not_read(
    operator: Any, poison: float, dtype: torch.dtype, kind: str, pixel: tuple[int, int]
) -> None:
    """An inf or NaN pixel reaches the outputs and the weights' gradients whose coefficient for it is not 0."""
    case = Case(channels=9, size=(5, 9), padding=Paddings(top=0, bottom=-1, left=1, right=-2))
    drawn = case.draw(dtype)
    drawn.bias = None
    if kind in ("integer", "row"):
        drawn.positions[..., 0] = drawn.positions[..., 0].round()
    if kind in ("integer", "column"):
        drawn.positions[..., 1] = drawn.positions[..., 1].round()
    if kind == "just below":
        drawn.positions = drawn.positions.round() - 1e-9
        drawn.positions[:, 0] = -1e-9  # a fraction that rounds to 1
    drawn.positions[:, 1] = 0
    drawn.input[0, 4, pixel[0], pixel[1]] = poison
    weight = drawn.weight.double().requires_grad_()
    expected = gather(drawn.input.double(), weight, drawn.positions, case.stride, case.padding)
    output = forward(operator, drawn, case)
    assert torch.equal(output.isfinite(), expected.isfinite())
    # Weights of a cell are added before they meet its pixel: where two synapses see an inf with weights of both signs,
    # the sum of their products would be NaN, and the product of their sum is an inf.
    assert not (output.isnan() & ~expected.isnan()).any()
    if poison != poison:
        assert torch.equal(output.isnan(), expected.isnan())
    (expected_gradient,) = torch.autograd.grad(expected, weight, drawn.grad_output.double())
    gradient = backward(operator, drawn, case, wanted=(0, 1, 0, 0))[1]
    # As often as not, infs of both signs meet in a sum; only where the weight's gradient is finite is beyond doubt.
    assert torch.equal(gradient.isfinite(), expected_gradient.isfinite())
    finite = expected_gradient.isfinite()
    assert finite.any()
    torch.testing.assert_close(gradient[finite].double(), expected_gradient[finite], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", DTYPES, ids=["float16", "bfloat16", "tf32"])
def test_an_inf_in_the_gradient_of_the_output(operator: Any, dtype: torch.dtype) -> None:
    """It reaches exactly the pixels of the input's gradient that its output saw with a coefficient."""
    case = Case(size=(7, 9), synapses=3, positions=((0.0, 1.0), (-0.5, 0.0), (2.0, -1.25)))
    drawn = case.draw(dtype)
    drawn.grad_output[0, 2, 3, 4] = float("inf")
    seen = {(3, 5), (2, 4), (3, 4), (5, 2), (5, 3)}
    bad = ~backward(operator, drawn, case, wanted=(1, 0, 0, 0))[0].isfinite()
    assert {(y, x) for _, _, y, x in bad.nonzero().tolist()} == seen
    assert bad[0].all(0).sum() == len(seen)


def test_what_is_not_supported(operator: Any) -> None:
    """Few channels to a group, too many synapses and float64 are left to the column path."""
    unsupported = {
        "few channels": (Case(channels=4), torch.float16),
        "depthwise": (Case(channels=16, outputs=16, groups=16), torch.float16),
        "few outputs to a position group": (Case(outputs=16, position_groups=4), torch.float16),
        "an 11x11 unit": (Case(synapses=121), torch.float16),
        "float64": (Case(), torch.float64),
    }
    for name, (case, dtype) in unsupported.items():
        drawn = case.draw(dtype)
        drawn.positions = drawn.positions.double() if dtype == torch.float64 else drawn.positions
        assert not operator.supports(drawn.input, drawn.weight, drawn.positions, *case.numbers), name


# What every GPU from 8.0 on gives a block, and what one multiprocessor of 8.0 has, of which each block costs 1 KB more.
SHARED_BYTES, ALL_SHARED_BYTES, RESERVED = 99 << 10, 164 << 10, 1 << 10
LAYERS = {
    f"{channels} to {outputs}, {side}x{side}": Case(
        images=2, channels=channels, outputs=outputs, size=(side, side), synapses=9, stride=(stride, stride)
    )
    for channels, outputs, side, stride in (
        (16, 48, 32, 1),
        (48, 48, 32, 1),
        (48, 96, 32, 2),
        (96, 96, 16, 1),
        (96, 192, 16, 2),
        (192, 192, 8, 1),
    )
}


@pytest.mark.parametrize("dtype", DTYPES, ids=["float16", "bfloat16", "tf32"])
@pytest.mark.parametrize("name", [*CASES, *LAYERS])
def test_shared_memory_is_within_the_limit(operator: Any, name: str, dtype: torch.dtype) -> None:
    """That of every GPU; and two blocks stand on one multiprocessor where their registers were limited for it."""
    case = (CASES | LAYERS)[name]
    drawn = case.draw(dtype)
    bytes_and_choices = operator.plan(drawn.input, drawn.weight, drawn.positions, *case.numbers)
    forward, input_gradient, corners, addition, fragments, _, mirrored_fragments, _ = bytes_and_choices
    assert forward > 0
    assert (input_gradient > 0) == (case.stride == (1, 1))
    assert max(forward, input_gradient, corners, addition) <= SHARED_BYTES
    if name in LAYERS:
        for needed, width in ((forward, fragments), (input_gradient, mirrored_fragments)):
            assert width == 6 or 2 * (needed + RESERVED) <= ALL_SHARED_BYTES


def test_older_architectures_have_none_of_it(compiler: str) -> None:
    """For GPUs without bfloat16 and TF32 what plans a call is compiled, and no kernel."""
    source = """
        #include "device_on_host.h"
        #define __CUDA_ARCH__ 750
        #include "fused_plan.cuh"
        #ifdef ACU_HAS_TENSOR_CORES
        #error "there are no tensor cores for TF32"
        #endif
        bool fits(const acu::cuda::Geometry& geometry) { return acu::cuda::fused_fits<float>(geometry, 1, 8); }
    """
    command = [compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"]
    command += [f"-I{path}" for path in [CUDA_SOURCES, Path(__file__).parent, *include_paths()]]
    built = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


def test_shapes_that_would_read_out_of_bounds_are_refused(operator: Any) -> None:
    """The last line of defence names the argument."""
    case = Case()
    drawn = case.draw(torch.float16)
    for name, wrong in {
        "positions": drawn.positions[:, :2],
        "weight": drawn.weight[:, :3],
        "bias": drawn.bias[:4],
        "input": drawn.input[0],
    }.items():
        broken = SimpleNamespace(**{**vars(drawn), name: wrong})
        with pytest.raises(RuntimeError, match=name):
            forward(operator, broken, case)
    drawn.grad_output = drawn.grad_output[:, :, 1:]
    with pytest.raises(RuntimeError, match="grad_output"):
        backward(operator, drawn, case)
