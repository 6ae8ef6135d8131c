"""Peak memory of one forward and backward, of the whole process: torch's profiler does not see a kernel's scratch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import astuple

import torch

from acu_core.bench.contestants import Shape, make_contestants
from acu_core.forecast.high_water_mark import high_water_mark, start_high_water_mark


def growth_in_this_process(shape: Shape, name: str, dtype: torch.dtype = torch.float32) -> int:
    """Bytes by which the high-water mark grows in a first forward and backward. For a fresh process."""
    contestant = make_contestants(_small(shape), device=torch.device("cpu"), dtype=dtype, slow=False)[name]
    contestant.run()  # libraries, thread pools and their stacks
    contestant = make_contestants(shape, device=torch.device("cpu"), dtype=dtype, slow=False, checked=False)[name]
    before = start_high_water_mark()
    contestant.run()
    return high_water_mark() - before


def _small(shape: Shape) -> Shape:
    return Shape(2, shape.channels, shape.outputs, 8, 8, *astuple(shape)[5:])


def peak_memory(
    shape: Shape, name: str, *, dtype: torch.dtype = torch.float32, processes: int = 5, threads: int
) -> int:
    """The least growth over some fresh processes, in bytes."""
    program = (
        "import sys, torch; torch.set_num_threads(int(sys.argv[1])); "
        "from acu_core.bench.contestants import Shape; from acu_core.bench.peak_memory import growth_in_this_process; "
        "print(growth_in_this_process(Shape(*map(int, sys.argv[4:])), sys.argv[2], getattr(torch, sys.argv[3])))"
    )
    dtype_name = str(dtype).removeprefix("torch.")
    numbers = [str(number) for number in astuple(shape)]
    answers = [
        subprocess.run(
            [sys.executable, "-c", program, str(threads), name, dtype_name, *numbers],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for _ in range(processes)
    ]
    return min(int(answer.stdout) for answer in answers)
