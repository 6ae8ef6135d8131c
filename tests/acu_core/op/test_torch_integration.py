"""What PyTorch asks of an operator: opcheck, compile, autocast, 16 bits, meta tensors, the fallback."""

from __future__ import annotations

import pytest
import torch
from oracles import relative_error
from torch import Tensor

from acu_core.op import functional, library
from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference

SETTINGS = ((1, 2), Paddings(top=1, bottom=-1, left=0, right=2), 2)


def draw(images: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(images, 4, 8, 9, generator=generator, dtype=dtype),
        torch.randn(6, 2, 9, generator=generator, dtype=dtype),
        torch.randn(3, 9, 2, generator=generator),
        torch.randn(6, generator=generator, dtype=dtype),
    )


# opcheck itself looks at `.grad` of the copies that it makes, and torch warns of that.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_opcheck_of_the_forward_operator(channels_last: bool, has_bias: bool) -> None:
    image, weight, positions, bias = (t.requires_grad_() for t in draw())
    if channels_last:
        image = image.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(
        torch.ops.acu.active_conv2d.default,
        (image, weight, positions, bias if has_bias else None, *SETTINGS, channels_last),
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("needs", [(True, True, True, True), (False, True, False, True), (True, False, True, False)])
def test_opcheck_of_the_backward_operator(channels_last: bool, needs: tuple[bool, ...]) -> None:
    image, weight, positions, bias = draw()
    if channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    output = torch.ops.acu.active_conv2d(image, weight, positions, bias, *SETTINGS, channels_last)
    torch.library.opcheck(
        torch.ops.acu.active_conv2d_backward.default,
        (torch.randn_like(output), image, weight, positions, *SETTINGS, channels_last, *needs),
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside torch's compiler by some Python versions
def test_compiles_whole_with_a_dynamic_batch() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, example_inputs: list[Tensor]):
        graphs.append(graph)
        return graph.forward

    def function(image: Tensor, weight: Tensor, positions: Tensor, bias: Tensor) -> Tensor:
        return active_conv2d(image.relu(), weight, positions, bias, 2, 1, 2).sigmoid()

    for backend in (count, "aot_eager"):
        torch.compiler.reset()
        compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=backend)
        for images in (7, 5, 11):  # unlike any other size, which the compiler would take for the same one
            tensors = [t.requires_grad_() for t in draw(images)]
            output, expected = compiled(*tensors), function(*tensors)
            assert relative_error(output, expected) < 1e-6
            gradients = torch.autograd.grad(output.square().sum(), tensors)
            for actual, right in zip(gradients, torch.autograd.grad(expected.square().sum(), tensors), strict=True):
                assert relative_error(actual, right) < 1e-5
    assert len(graphs) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside torch's compiler by some Python versions
def test_strides_and_paddings_may_follow_from_a_dynamic_size() -> None:
    def function(image: Tensor, weight: Tensor, positions: Tensor, stride: int) -> Tensor:
        height = image.shape[2]
        paddings = Paddings(top=height // 4, bottom=height % 3, left=-1, right=height - 7)
        return active_conv2d(image, weight, positions, None, (stride, 1), paddings, 2).sigmoid()

    _, weight, positions, _ = draw()
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    for height, stride in ((8, 2), (11, 2), (15, 3)):
        image = torch.randn(3, 4, height, 9, generator=torch.Generator().manual_seed(height), requires_grad=True)
        output, expected = compiled(image, weight, positions, stride), function(image, weight, positions, stride)
        assert relative_error(output, expected) < 1e-6
        (actual,), (right,) = (torch.autograd.grad(y.square().sum(), image) for y in (output, expected))
        assert relative_error(actual, right) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_casts_all_but_the_positions(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    real = functional.check_arguments

    def spy(input: Tensor, weight: Tensor, positions: Tensor, *rest: object):
        seen.extend((input.dtype, weight.dtype, positions.dtype))
        return real(input, weight, positions, *rest)

    monkeypatch.setattr(functional, "check_arguments", spy)
    tensors = [t.requires_grad_() for t in draw()]
    with torch.autocast("cpu", dtype=dtype):
        output = active_conv2d(*tensors, 1, 0, 2)
    assert output.dtype == dtype
    assert seen == [dtype, dtype, torch.float32]
    exact = active_conv2d(*tensors, 1, 0, 2)
    assert relative_error(output, exact) < 2e-2
    for tensor, gradient in zip(tensors, torch.autograd.grad(output.float().sum(), tensors), strict=True):
        assert gradient.dtype == tensor.dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_on_the_cpu_are_computed_in_float32(dtype: torch.dtype) -> None:
    image, weight, positions, bias = draw(dtype=dtype)
    output = active_conv2d(image, weight, positions, bias, 1, 0, 2)
    expected = active_conv2d(image.float(), weight.float(), positions, bias.float(), 1, 0, 2).to(dtype)
    assert output.dtype == dtype
    assert torch.equal(output, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_rounded_once(dtype: torch.dtype) -> None:
    """Value and gradients are those of the reference in float64, to half a unit in the last of the 16 bits."""
    tensors = [t.requires_grad_() for t in draw(dtype=dtype)]
    output = active_conv2d(*tensors, 1, 0, 2)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    actual = (output, *torch.autograd.grad(output, tensors, grad))
    wide = [t.detach().double().requires_grad_() for t in tensors]
    exact = active_conv2d_reference(*wide, 1, 0, 2)
    expected = (exact, *torch.autograd.grad(exact, wide, grad.double()))
    assert [one.dtype for one in actual] == [dtype, dtype, dtype, torch.float32, dtype]
    for one, right in zip(actual, expected, strict=True):
        half = torch.finfo(one.dtype).eps / 2 if one.dtype == dtype else 0.0
        # The float32 in between adds the roundings of what is summed.
        error, summed = (one.detach().double() - right).abs(), 2e-6 * right.abs().max()
        assert bool((error <= half * right.abs() + summed).all())


@pytest.mark.parametrize("instruction_set", library.supported_instruction_sets())
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_number_of_16_bits_is_read_and_written(
    dtype: torch.dtype, layout: torch.memory_format, instruction_set: str
) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    image = every.reshape(1, 32, 32, 64).contiguous(memory_format=layout)
    with library.with_instruction_set(instruction_set):
        # Each output sees one channel: inf times the zeros of the others would be NaN.
        actual = active_conv2d(image, torch.ones(32, 1, 1, dtype=dtype), torch.zeros(1, 1, 2), groups=32)
        torch.testing.assert_close(actual, image, rtol=0, atol=0, equal_nan=True)
        # The gradient of the input, likewise.
        leaf = torch.zeros_like(image).requires_grad_()
        output = active_conv2d(leaf, torch.ones(32, 1, 1, dtype=dtype), torch.zeros(1, 1, 2), groups=32)
        finite = torch.where(image.isfinite(), image, 0)
        (gradient,) = torch.autograd.grad(output, leaf, finite)
        torch.testing.assert_close(gradient, finite, rtol=0, atol=0)


@pytest.mark.parametrize("instruction_set", library.supported_instruction_sets())
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_rounded_as_pytorch_does(
    dtype: torch.dtype, layout: torch.memory_format, instruction_set: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**15), 2**15, (2, 3, 20, 20), generator=generator).to(torch.int16)
    image = bits.view(dtype).contiguous(memory_format=layout)
    # Beyond the largest number, and below the smallest that has a leading one; both signs.
    for scale in (1.0, 3.14, 1e-4, -3e4):
        weight = torch.full((1, 1, 1), scale).to(dtype).expand(3, 1, 1)
        with library.with_instruction_set(instruction_set):
            actual = active_conv2d(image, weight, torch.zeros(1, 1, 2), groups=3)
        expected = (image.float() * weight.float().reshape(1, 3, 1, 1)).to(dtype)
        torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def test_autocast_casts_as_it_does_for_a_convolution() -> None:
    image, weight, positions, bias = draw()
    square = weight.unflatten(2, (3, 3))
    for dtype in (torch.bfloat16, torch.float16):
        for enabled in (True, False):
            with torch.autocast("cpu", dtype, enabled=enabled):
                ours = active_conv2d(image, weight, positions, bias, 1, 0, 2)
                theirs = torch.nn.functional.conv2d(image, square, bias, padding=1, groups=2)
            assert ours.dtype == theirs.dtype == (dtype if enabled else torch.float32)
    wide = [t.double() for t in (image, weight, bias)]
    with torch.autocast("cpu", torch.bfloat16):
        # Autocast leaves float64 alone, and what is switched off within it.
        assert active_conv2d(wide[0], wide[1], positions, wide[2], 1, 0, 2).dtype == torch.float64
        with torch.autocast("cpu", enabled=False):
            assert active_conv2d(image, weight, positions, bias, 1, 0, 2).dtype == torch.float32


def test_float64_keeps_its_precision() -> None:
    image, weight, positions, bias = draw(dtype=torch.float64)
    for at in (positions, positions.double()):
        output = active_conv2d(image, weight, at, bias, 1, 0, 2)
        expected = active_conv2d_reference(image, weight, at.double(), bias, 1, 0, 2)
        assert relative_error(output, expected) < 1e-13


def test_meta_tensors_have_shapes() -> None:
    tensors = [t.to("meta") for t in draw()]
    assert active_conv2d(*tensors, 2, (1, 2, 3, 4), 2).shape == (3, 6, 6, 8)


def test_without_a_kernel_the_reference_runs_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "has_kernel", lambda device_type: False)
    monkeypatch.setattr(functional, "_warned", set())
    tensors = draw()
    with pytest.warns(RuntimeWarning, match="no compiled kernel for 'cpu'"):
        first = active_conv2d(*tensors, 1, 0, 2)
    assert torch.equal(active_conv2d(*tensors, 1, 0, 2), first)  # a second warning would be an error here
    assert torch.equal(first, active_conv2d_reference(*tensors, 1, 0, 2))
