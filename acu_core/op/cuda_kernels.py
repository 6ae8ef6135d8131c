"""Which CUDA kernels calls are computed with: what the environment says, and what `auto` finds out about each call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from acu_core.op import library
from acu_core.op.kernel_chooser import COLUMNS, FUSED, TOLERANCES, KernelChooser, Results, Trial

SHIFT = (0.375, -0.28125)
"""Pixels by which the positions of the second comparison lie beside: a network starts on the grid, where no two pixels
are blended, and half of what a kernel computes would not be seen."""
SPIN = 1_000_000
"""Cycles for which the device is kept busy before a call is timed, so that all its kernels wait in line by then: timed
is what the device does, not how fast Python gives it work."""
_GRADIENTS = ("input", "weight", "positions", "bias")


class Call(NamedTuple):
    """What tells calls apart that may need other kernels."""

    operation: str
    dtype: torch.dtype
    tf32: bool
    channels_last: bool
    input: torch.Size
    weight: torch.Size
    position_groups: int
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int

    def __str__(self) -> str:
        dtype = "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")
        layout = "channels_last" if self.channels_last else "contiguous"
        stride, padding = "x".join(map(str, self.stride)), " ".join(map(str, self.padding))
        return (
            f"{self.operation}, {dtype}, {layout}, input {_size(self.input)}, weight {_size(self.weight)}, "
            f"stride {stride}, padding {padding}, groups {self.groups}, position groups {self.position_groups}"
        )


class Compiled(Protocol):
    """What is asked of the compiled kernels."""

    def mode(self) -> str:
        """What `use` said last."""

    def use(self, mode: str) -> None:
        """Calls of the whole process take `columns`, `fused` where they can, or (`auto`) what was chosen for them."""

    def forced(self, kernels: str) -> AbstractContextManager[None]:
        """Calls that this thread makes inside the block take COLUMNS or FUSED, whatever else was said."""

    def choose(self, call: tuple[Any, ...], needs: int, kernels: str) -> None:
        """From now on calls like this one take these kernels in `auto`."""

    def forget(self) -> None:
        """Nothing is chosen any more: in `auto` calls take the columns' kernels."""

    def supports_fused(self, call: tuple[Any, ...]) -> bool:
        """Whether there are fused kernels for it."""

    def tf32(self) -> bool:
        """Whether the fused kernels may compute float32 as TF32."""

    def observed(self) -> bool:
        """Whether whatever is called now is recorded by someone: a graph, a compiler, a mode."""

    def beside(self, tensor: Tensor) -> AbstractContextManager[object]:
        """Around what is timed: the device of the tensor is the current one."""

    def forward(self, *call: Any) -> Tensor:
        """The operator."""

    def backward(self, gradient: Tensor, *call: Any) -> tuple[Tensor, ...]:
        """Its gradients."""


class CudaKernels:
    """Decides in the mode `auto` at the first call of each kind, by running both kernels on its tensors.

    Nothing is decided while a graph is captured, a compiler traces or a mode watches: such calls take what is decided
    already, else the columns' kernels.
    """

    def __init__(self, compiled: Compiled, chooser: KernelChooser) -> None:
        self._compiled = compiled
        self._chooser = chooser
        self._recorded: dict[str, str] = {}
        # Calls that nothing is left to be done for. Read without the lock, written in it.
        self._settled: set[Call] = set()
        self._lock = threading.RLock()

    @property
    def mode(self) -> str:
        """`columns`, `fused` or `auto`."""
        return self._compiled.mode()

    def use(self, mode: str) -> None:
        """Changes the mode for the whole process."""
        self._compiled.use(mode)

    @contextmanager
    def using(self, mode: str) -> Iterator[None]:
        """The mode inside the block, for the whole process."""
        before = self.mode
        self.use(mode)
        try:
            yield
        finally:
            self.use(before)

    @property
    def choices(self) -> dict[str, str]:
        """What `auto` goes by, decided here or before, by the text of the call and in the order of the texts."""
        decided = {str(call): kernels for call, kernels in self._chooser.choices.items()}
        return dict(sorted({**self._recorded, **decided}.items()))

    def resume(self, mode: str, choices: Mapping[str, str]) -> None:
        """Goes on as a run did: in its mode, and with what was decided there in place of what would be found anew."""
        with self._lock:
            self._recorded = dict(choices)
            self._settled.clear()
            self._chooser.forget()
            self._compiled.forget()
            self.use(mode)

    def before_forward(self, *call: Any) -> None:
        """Called with the operator's own arguments before it is: decides where that is still to do."""
        self._before("forward", -1, call, lambda given: (self._compiled.forward(*given),), lambda: (None,))

    def before_backward(self, gradient: Tensor, call: tuple[Any, ...], needs: Sequence[bool]) -> None:
        """Likewise, with the arguments of forward but the bias, and which of the four gradients are asked for."""
        wanted = [name for name, needed in zip(_GRADIENTS, needs, strict=True) if needed]
        mask = sum(1 << place for place, needed in enumerate(needs) if needed)
        gradient = gradient.detach()

        def sizes() -> tuple[Tensor | None, ...]:
            # Behind a convolution comes a normalisation as a rule, which makes the sum over all pixels 0.
            summed = torch.linalg.vector_norm(gradient, dim=(0, 2, 3), dtype=torch.float32) if needs[3] else None
            return (None, None, None, summed)

        self._before(
            f"backward of {', '.join(wanted)}",
            mask,
            call,
            lambda given: self._compiled.backward(gradient, *given, *needs),
            sizes,
        )

    def _before(
        self,
        operation: str,
        needs: int,
        call: tuple[Any, ...],
        run: Callable[[tuple[Any, ...]], Results],
        sizes: Callable[[], tuple[Tensor | None, ...]],
    ) -> None:
        if self._compiled.observed() or self.mode != "auto":
            return
        if not all(type(value) in (Tensor, torch.nn.Parameter) for value in call if isinstance(value, Tensor)):
            return
        input, weight, positions, *_, stride, padding, groups, channels_last = call
        tf32 = input.dtype == torch.float32 and self._compiled.tf32()
        kind = Call(
            operation,
            input.dtype,
            tf32,
            channels_last,
            input.shape,
            weight.shape,
            positions.shape[0],
            tuple(stride),
            tuple(padding),
            groups,
        )
        if kind not in self._settled:
            with self._lock, torch.no_grad():
                self._settle(kind, needs, call, run, sizes)

    def _settle(
        self,
        kind: Call,
        needs: int,
        call: tuple[Any, ...],
        run: Callable[[tuple[Any, ...]], Results],
        sizes: Callable[[], tuple[Tensor | None, ...]],
    ) -> None:
        # Nothing of this is recorded for a gradient.
        given = tuple(value.detach() if isinstance(value, Tensor) else value for value in call)

        def trials() -> list[Trial]:
            beside = (*given[:2], given[2] + given[2].new_tensor(SHIFT), *given[3:])
            return [self._trial(run, one, sizes()) for one in (given, beside)]

        if self._compiled.supports_fused(given):
            if (recorded := self._recorded.get(str(kind))) is not None:
                self._chooser.adopt({kind: recorded})
            else:
                with self._compiled.beside(given[0]):
                    self._chooser.choose(kind, trials)
            kernels = self._chooser.known(kind)
            if kernels is None:
                return
            self._compiled.choose(given, needs, kernels)
        self._settled.add(kind)

    def _trial(
        self, run: Callable[[tuple[Any, ...]], Results], call: tuple[Any, ...], sizes: tuple[Tensor | None, ...]
    ) -> Trial:
        def by(kernels: str) -> Callable[[], Results]:
            def called() -> Results:
                with self._compiled.forced(kernels):
                    return run(call)

            return called

        return Trial(by(COLUMNS), by(FUSED), sizes)


class _Library:
    """The real ones."""

    def mode(self) -> str:
        return library.cuda_kernels()

    def use(self, mode: str) -> None:
        library.use_cuda_kernels(mode)

    @contextmanager
    def forced(self, kernels: str) -> Iterator[None]:
        before = torch.ops.acu.force_cuda_kernels(library.CUDA_KERNELS.index(kernels))
        try:
            yield
        finally:
            torch.ops.acu.force_cuda_kernels(before)

    def choose(self, call: tuple[Any, ...], needs: int, kernels: str) -> None:
        torch.ops.acu.choose_cuda_kernels(*_shape(call), call[-1], needs, library.CUDA_KERNELS.index(kernels))

    def forget(self) -> None:
        torch.ops.acu.forget_cuda_kernels()

    def supports_fused(self, call: tuple[Any, ...]) -> bool:
        return bool(torch.ops.acu.cuda_fused_supports(*_shape(call)))

    def tf32(self) -> bool:
        return bool(torch.ops.acu.cuda_tf32())

    def observed(self) -> bool:
        return (
            torch.compiler.is_compiling()
            or torch._C._is_tracing()
            or torch._C._len_torch_dispatch_stack() > 0
            or torch._C._are_functorch_transforms_active()
            or torch.cuda.is_current_stream_capturing()
        )

    def beside(self, tensor: Tensor) -> AbstractContextManager[object]:
        return torch.cuda.device(tensor.device)

    def forward(self, *call: Any) -> Tensor:
        output: Tensor = torch.ops.acu.active_conv2d(*call)
        return output

    def backward(self, gradient: Tensor, *call: Any) -> tuple[Tensor, ...]:
        gradients: tuple[Tensor, ...] = torch.ops.acu.active_conv2d_backward(gradient, *call)
        return gradients


def _shape(call: tuple[Any, ...]) -> tuple[Any, ...]:
    """Input, weight, positions, stride, padding and groups of either operator's arguments."""
    *_, stride, padding, groups, _ = call
    return (*call[:3], stride, padding, groups)


def _size(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def device_seconds(run: Callable[[], object]) -> float:
    """How long the current device works on what `run` gives it. Waits for it."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda._sleep(SPIN)  # type: ignore[no-untyped-call]
    begin.record()
    run()
    end.record()
    end.synchronize()
    milliseconds: float = begin.elapsed_time(end)
    return milliseconds / 1e3


KERNELS = CudaKernels(_Library(), KernelChooser(device_seconds, TOLERANCES))
"""Of this process."""
