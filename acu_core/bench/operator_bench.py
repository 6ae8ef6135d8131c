"""The table of `acu bench op`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from acu_core.bench.contestants import Contestant, Shape, make_contestants
from acu_core.bench.device_clock import CudaDevice, DeviceClock
from acu_core.bench.peak_memory import peak_memory
from acu_core.bench.timing import Timing, alternate
from acu_core.errors import UserError
from acu_core.learn.backend_flags import float32_products


@dataclass(frozen=True)
class OperatorRow:
    """One contestant on one shape: forward, forward + backward, and their ratios to the faster `F.conv2d`.

    `peak_bytes` is the growth of the process's high-water mark, where it was measured. On a GPU, `forward` and `both`
    are calls as a program makes them; `forward_replayed` and `both_replayed` their kernels alone, replayed as a graph,
    with ratios of their own. A contestant that waits for the device on its way has none, nor has any on the CPU.
    """

    shape: Shape
    contestant: str
    forward: Timing
    both: Timing
    forward_ratio: float
    ratio: float
    peak_bytes: int | None = None
    forward_replayed: Timing | None = None
    both_replayed: Timing | None = None
    forward_replayed_ratio: float | None = None
    replayed_ratio: float | None = None


def measure_operator(
    shape: Shape,
    *,
    rounds: int = 21,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    tf32: bool = False,
    slow: bool = True,
    on_grid: bool = False,
    memory: bool = False,
    instruction_sets: Sequence[str] = (),
    clock: DeviceClock | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[OperatorRow]:
    """Times every contestant on a shape; all are checked to agree first.

    Weights change in place between rounds, so that nothing kept from call to call helps. With `memory`, fresh processes
    measure the peaks of the operator and of the convolution (CPU only). With `instruction_sets` the operator takes part
    once with each of them. Products and convolutions are float32 alike, with `tf32` both TF32 (NVIDIA GPUs only). On a
    GPU its events keep the time; another `clock` takes their place.

    Raises:
        UserError: `tf32` with another dtype than float32, or on a device that has none.
    """
    where = torch.device(device)
    if tf32:
        _refuse_missing_tf32(where, dtype)
    if clock is None and where.type == "cuda":
        clock = DeviceClock(CudaDevice(where))
    with float32_products("tf32" if tf32 else "ieee"):
        contestants = make_contestants(
            shape, device=where, dtype=dtype, tf32=tf32, slow=slow, on_grid=on_grid, instruction_sets=instruction_sets
        )

        def change_weights() -> None:
            with torch.no_grad():
                for contestant in contestants.values():
                    contestant.weight.mul_(1.0001)

        timings = alternate(
            _calls(contestants) if clock is None else {},
            clocks=None if clock is None else _clocks(contestants, clock),
            rounds=rounds,
            before_round=change_weights,
            after_round=None if progress is None else lambda done: progress(done, rounds),
            device=where,
        )

    def bar(kind: str) -> float:
        return min(timings[f"{name}/{kind}"].median for name in contestants if name.startswith("conv2d"))

    def replayed(name: str, kind: str) -> tuple[Timing | None, float | None]:
        timing = timings.get(f"{name}/{kind} replayed")
        return (None, None) if timing is None else (timing, timing.median / bar(f"{kind} replayed"))

    rows = []
    for name in contestants:
        forward, both = timings[f"{name}/forward"], timings[f"{name}/both"]
        measured = memory and where.type == "cpu" and name.startswith(("acu", "conv2d"))
        plain = name.split(",")[0]  # the instruction set changes no size
        peak = peak_memory(shape, plain, dtype=dtype, threads=torch.get_num_threads()) if measured else None
        forward_replayed, forward_replayed_ratio = replayed(name, "forward")
        both_replayed, replayed_ratio = replayed(name, "both")
        rows.append(
            OperatorRow(
                shape,
                name,
                forward,
                both,
                forward.median / bar("forward"),
                both.median / bar("both"),
                peak,
                forward_replayed,
                both_replayed,
                forward_replayed_ratio,
                replayed_ratio,
            )
        )
    return rows


def _refuse_missing_tf32(device: torch.device, dtype: torch.dtype) -> None:
    if dtype != torch.float32:
        name = str(dtype).removeprefix("torch.")
        raise UserError(f"TF32 is a way to compute with float32, so it says nothing about {name}: choose one of them")
    if device.type != "cuda" or torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] < 8:
        raise UserError(f"TF32 needs an NVIDIA GPU that has it: on {device} compare in float32")


def _calls(contestants: Mapping[str, Contestant]) -> dict[str, Callable[[], None]]:
    found = {}
    for name, contestant in contestants.items():
        found[f"{name}/forward"] = contestant.run_forward
        found[f"{name}/both"] = contestant.run
    return found


def _clocks(contestants: Mapping[str, Contestant], clock: DeviceClock) -> dict[str, Callable[[], float]]:
    found: dict[str, Callable[[], float]] = {}
    for name, run in _calls(contestants).items():
        found[name] = lambda run=run: clock.call(run)  # type: ignore[misc]
        # A capture that fails may spoil what comes after it: it is not tried where it must.
        replaying = None if contestants[name.split("/")[0]].waits else clock.replaying(run)
        if replaying is not None:
            found[f"{name} replayed"] = replaying
    return found
