"""The table of `acu bench op`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from acu_core.bench.contestants import Shape, make_contestants
from acu_core.bench.peak_memory import peak_memory
from acu_core.bench.timing import Timing, alternate


@dataclass(frozen=True)
class OperatorRow:
    """One contestant on one shape: forward, forward + backward, and their ratios to the faster `F.conv2d`.

    `peak_bytes` is the growth of the process's high-water mark, where it was measured.
    """

    shape: Shape
    contestant: str
    forward: Timing
    both: Timing
    forward_ratio: float
    ratio: float
    peak_bytes: int | None = None


def measure_operator(
    shape: Shape,
    *,
    rounds: int = 21,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    slow: bool = True,
    on_grid: bool = False,
    memory: bool = False,
    instruction_sets: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[OperatorRow]:
    """Times every contestant on a shape; all are checked to agree first.

    Weights change in place between rounds, so that nothing kept from call to call helps. With `memory`, fresh processes
    measure the peaks of the operator and of the convolution (CPU only). With `instruction_sets` the operator takes part
    once with each of them.
    """
    where = torch.device(device)
    contestants = make_contestants(
        shape, device=where, dtype=dtype, slow=slow, on_grid=on_grid, instruction_sets=instruction_sets
    )

    def change_weights() -> None:
        with torch.no_grad():
            for contestant in contestants.values():
                contestant.weight.mul_(1.0001)

    runs: dict[str, Callable[[], None]] = {}
    for name, contestant in contestants.items():
        runs[f"{name}/forward"] = contestant.run_forward
        runs[f"{name}/both"] = contestant.run
    timings = alternate(
        runs,
        rounds=rounds,
        before_round=change_weights,
        after_round=None if progress is None else lambda done: progress(done, rounds),
        device=where,
    )

    def bar(kind: str) -> float:
        return min(
            timing.median for name, timing in timings.items() if name.startswith("conv2d") and name.endswith(kind)
        )

    rows = []
    for name in contestants:
        forward, both = timings[f"{name}/forward"], timings[f"{name}/both"]
        measured = memory and where.type == "cpu" and name.startswith(("acu", "conv2d"))
        plain = name.split(",")[0]  # the instruction set changes no size
        peak = peak_memory(shape, plain, dtype=dtype, threads=torch.get_num_threads()) if measured else None
        rows.append(
            OperatorRow(shape, name, forward, both, forward.median / bar("forward"), both.median / bar("both"), peak)
        )
    return rows
