"""When kernels are compared and how it is kept: `CudaKernels` over kernels of the CPU, which may be wrong or slow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from acu_core.op import cuda_kernels, functional, library, registrations
from acu_core.op.cuda_kernels import CudaKernels
from acu_core.op.kernel_chooser import COLUMNS, FUSED, TOLERANCES, KernelChooser
from acu_core.op.paddings import Paddings
from acu_core.verify.case import Case, Tensors

CASE = Case("groups across position groups", groups=2, position_groups=3)
FORWARD = (
    "forward, float32, contiguous, input 2x8x7x6, weight 12x4x9, stride 1x1, padding 0 0 0 0, "
    "groups 2, position groups 3"
)
Wrong = Callable[[str, tuple[Tensor, ...]], tuple[Tensor, ...]]


class OnTheCpu:
    """The operator of the CPU as both kernels; `wrong` changes what the fused ones compute."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.told = "auto"
        self.chosen: list[tuple[int, str]] = []
        self.ran: list[tuple[str, str]] = []
        self.wrong: Wrong = lambda operation, results: results
        self.supported = True
        self.watched = False
        self.positions: list[Tensor] = []
        self.placed: Tensor | None = None

    def mode(self) -> str:
        return self.told

    def use(self, mode: str) -> None:
        self.told = mode

    @contextmanager
    def forced(self, kernels: str) -> Iterator[None]:
        assert self.name is None
        self.name = kernels
        yield
        self.name = None

    def choose(self, call: tuple[Any, ...], needs: int, kernels: str) -> None:
        self.chosen.append((needs, kernels))

    def forget(self) -> None:
        self.chosen.clear()

    def supports_fused(self, call: tuple[Any, ...]) -> bool:
        return self.supported

    def tf32(self) -> bool:
        return False

    def observed(self) -> bool:
        return self.watched

    @contextmanager
    def beside(self, tensor: Tensor) -> Iterator[None]:
        self.placed = tensor
        yield
        self.placed = None

    def forward(self, *call: Any) -> Tensor:
        self.positions.append(call[2])
        return self._run("forward", call, (torch.ops.acu.active_conv2d(*call),))[0]

    def backward(self, gradient: Tensor, *call: Any) -> tuple[Tensor, ...]:
        return self._run("backward", call, torch.ops.acu.active_conv2d_backward(gradient, *call))

    def _run(self, operation: str, call: tuple[Any, ...], results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        assert self.name is not None
        assert self.placed is not None
        assert self.placed.data_ptr() == call[0].data_ptr()
        assert not torch.is_grad_enabled()
        assert not any(isinstance(value, Tensor) and value.requires_grad for value in call)
        self.ran.append((operation, self.name))
        return self.wrong(operation, results) if self.name == FUSED else results


class Made(SimpleNamespace):
    compiled: OnTheCpu
    kernels: CudaKernels
    warned: list[str]
    call: tuple[Any, ...]
    gradient: Tensor

    def forward(self) -> None:
        self.kernels.before_forward(*self.call)

    def backward(self, *needs: bool) -> None:
        input, weight, positions, _, *settings = self.call
        self.kernels.before_backward(self.gradient, (input, weight, positions, *settings), needs or (True,) * 4)


def arguments(tensors: Tensors, channels_last: bool = False) -> tuple[Any, ...]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors[:4]]
    return (*leaves, CASE.stride, CASE.padding, CASE.groups, channels_last)


@pytest.fixture
def made() -> Made:
    compiled, warned = OnTheCpu(), list[str]()

    def clock(run: Callable[[], object]) -> float:
        run()
        return 1.0 if compiled.ran[-1][1] == FUSED else 2.0

    kernels = CudaKernels(compiled, KernelChooser(clock, TOLERANCES, warned.append))
    tensors = CASE.draw(torch.float32)
    return Made(
        compiled=compiled,
        kernels=kernels,
        warned=warned,
        call=arguments(tensors),
        gradient=tensors.grad_output.clone().requires_grad_(),
    )


def test_the_first_call_of_each_kind_decides(made: Made) -> None:
    made.forward()
    assert made.kernels.choices == {FORWARD: FUSED}
    assert made.compiled.chosen == [(-1, FUSED)]
    before = len(made.compiled.ran)
    made.forward()
    assert len(made.compiled.ran) == before
    made.backward()
    made.backward(False, True, True, False)
    made.backward()
    assert made.compiled.chosen == [(-1, FUSED), (0b1111, FUSED), (0b0110, FUSED)]
    assert [text.partition(", float32")[0] for text in made.kernels.choices] == [
        "backward of input, weight, positions, bias",
        "backward of weight, positions",
        "forward",
    ]
    assert made.warned == []


def test_it_is_compared_on_the_grid_and_beside_it(made: Made) -> None:
    positions = made.call[2].detach()
    made.forward()
    columns, fused, beside, beside_fused = made.compiled.positions[:4]
    assert torch.equal(columns, positions)
    assert torch.equal(fused, positions)
    assert torch.equal(beside, beside_fused)
    assert not ((beside - positions) % 1 == 0).any()


@pytest.mark.parametrize("operation", ["forward", "backward"])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_any_result_that_is_wrong_is_seen(made: Made, operation: str, place: int) -> None:
    def wrong(called: str, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = list(results)
        if called == operation and place < len(changed):
            changed[place] = changed[place].clone()
            changed[place].view(-1)[-1] += 0.5 * changed[place].abs().max()
        return tuple(changed)

    made.compiled.wrong = wrong
    made.forward()
    made.backward()
    seen = operation == "backward" or place == 0
    assert {kernels for text, kernels in made.kernels.choices.items() if text.startswith(operation)} == {
        COLUMNS if seen else FUSED
    }
    assert len(made.warned) == seen
    assert all(f"not used for {operation}" in text and "input 2x8x7x6, weight 12x4x9" in text for text in made.warned)


def test_a_bias_before_a_normalisation_is_no_disagreement(made: Made) -> None:
    with torch.no_grad():
        made.gradient -= made.gradient.mean((0, 2, 3), keepdim=True)

    def rounded(called: str, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Nothing but rounding is left of the sum, and another order of adding leaves another.
        return (*results[:3], -2 * results[3]) if called == "backward" else results

    made.compiled.wrong = rounded
    made.backward()
    assert set(made.kernels.choices.values()) == {FUSED}


def test_a_gradient_of_zeros_decides_at_a_later_call(made: Made) -> None:
    real = made.gradient
    made.gradient = torch.zeros_like(real)
    made.backward()
    assert (made.kernels.choices, made.compiled.chosen) == ({}, [])
    made.gradient = real
    made.backward()
    assert made.compiled.chosen == [(0b1111, FUSED)]


def test_where_someone_records_nothing_is_tried(made: Made) -> None:
    made.compiled.watched = True
    made.forward()
    made.backward()
    assert (made.compiled.ran, made.kernels.choices) == ([], {})
    made.compiled.watched = False
    made.forward()
    assert made.kernels.choices == {FORWARD: FUSED}


@pytest.mark.parametrize("mode", ["columns", "fused"])
def test_what_is_named_is_not_tried(made: Made, mode: str) -> None:
    with made.kernels.using(mode):
        made.forward()
        made.backward()
        assert (made.compiled.told, made.compiled.ran) == (mode, [])
    assert made.compiled.told == made.kernels.mode == "auto"


def test_what_has_no_fused_kernels_is_asked_once(made: Made) -> None:
    made.compiled.supported = False
    made.forward()
    made.compiled.supported = True
    made.forward()
    assert (made.compiled.ran, made.kernels.choices) == ([], {})


def test_a_resumed_run_takes_what_is_recorded(made: Made) -> None:
    made.forward()
    made.backward()
    recorded = {**made.kernels.choices, FORWARD: COLUMNS}
    made.kernels.resume("auto", recorded)
    assert (made.kernels.choices, made.compiled.chosen) == (recorded, [])
    made.compiled.ran.clear()
    made.forward()
    made.backward()
    assert made.compiled.ran == []
    assert made.compiled.chosen == [(-1, COLUMNS), (0b1111, FUSED)]
    assert made.kernels.choices == recorded
    # What the record does not name is found out.
    made.backward(False, True, True, False)
    assert made.compiled.chosen[-1] == (0b0110, FUSED)
    assert len(made.kernels.choices) == 3
    made.kernels.resume("auto", {})
    assert made.kernels.choices == {}


def test_calls_that_differ_are_told_apart(made: Made) -> None:
    tensors = CASE.draw(torch.float32)
    input, weight, positions, bias, *_ = made.call
    calls = [
        made.call,
        arguments(tensors, channels_last=True),
        (input[:1], weight, positions, bias, *made.call[4:]),
        (input, weight[:6], positions, bias[:6], *made.call[4:]),
        (input, weight, positions[:1], bias, *made.call[4:]),
        (input, weight, positions, bias, (1, 2), *made.call[5:]),
        (input, weight, positions, bias, (1, 1), Paddings(1, 0, 0, 0), *made.call[6:]),
        (input, weight[:, :2], positions, bias, (1, 1), Paddings(0, 0, 0, 0), 4, False),
    ]
    for call in calls:
        made.kernels.before_forward(*call)
    assert len(made.kernels.choices) == len(calls)


# PyTorch is giving tracing up.
@pytest.mark.filterwarnings("ignore:.torch.jit.trace.:")
def test_the_real_ones_see_who_records(monkeypatch: pytest.MonkeyPatch) -> None:
    captured: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: bool(captured))
    real = cuda_kernels._Library()
    seen: list[bool] = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return function(*args, **(kwargs or {}))

    assert not real.observed()
    with Watching():
        seen.append(real.observed())
    with FakeTensorMode():
        seen.append(real.observed())

    def look(value: Tensor) -> Tensor:
        seen.append(real.observed())
        return value * 2

    torch.jit.trace(look, torch.ones(1), check_trace=False)
    torch.func.grad(lambda value: look(value).sum())(torch.ones(1))
    torch.func.vmap(look)(torch.ones(2))
    captured.append(True)
    seen.append(real.observed())
    assert seen == [True] * 6


class Noted:
    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def before_forward(self, *call: Any) -> None:
        self.calls.append(("forward", call))

    def before_backward(self, gradient: Tensor, call: tuple[Any, ...], needs: Any) -> None:
        self.calls.append(("backward", (gradient, *call, needs)))


def test_the_operator_asks_before_it_is_called_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Noted()
    monkeypatch.setattr(functional, "KERNELS", noted)
    monkeypatch.setattr(registrations, "KERNELS", noted)
    monkeypatch.setattr(functional.library, "has_kernel", lambda device_type: True)
    for device in ("cpu", "cuda"):
        with FakeTensorMode():
            image, weight = torch.ones(2, 4, 5, 5, device=device), torch.ones(6, 4, 9, device=device)
            positions = torch.zeros(1, 9, 2, device=device)
            if device == "cuda":
                output = functional.active_conv2d(image, weight, positions)
                gradient = torch.ones_like(output)
                context = SimpleNamespace(
                    saved_tensors=(image, weight, positions),
                    settings=[(1, 1), Paddings(0, 0, 0, 0), 1, False],
                    needs_input_grad=(True, True, True, False, False, False, False, False),
                )
                registrations._backward(context, gradient)
    (forward, call), (backward, other) = noted.calls
    assert (forward, backward) == ("forward", "backward")
    assert call[:3] == (image, weight, positions)
    assert call[4:] == ((1, 1), Paddings(0, 0, 0, 0), 1, False)
    assert other[1:4] == call[:3]
    assert other[4:] == (*call[4:], (True, True, True, False))


def test_a_wrong_word_in_the_environment_is_one_sentence() -> None:
    environment = {**os.environ, "ACU_CUDA_KERNELS": "quick"}
    command = [sys.executable, "-m", "acu_cli", "train"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ACU_CUDA_KERNELS is 'quick': it must be one of columns, fused, auto, or not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_names_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACU_CUDA_KERNELS", raising=False)
    assert library._read_cuda_kernels() is None
    for name in ("columns", "fused", "auto"):
        monkeypatch.setenv("ACU_CUDA_KERNELS", name)
        assert library._read_cuda_kernels() == name
