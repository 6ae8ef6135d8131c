"""Peak memory of one forward and backward, of the whole process: torch's profiler does not see a kernel's scratch."""

from __future__ import annotations

import ctypes
import gc
import resource
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import torch

from acu_core.bench.contestants import Shape, make_contestants

_STATUS = Path("/proc/self/status")


def growth_in_this_process(shape: Shape, name: str) -> int:
    """Bytes by which the high-water mark grows in a first forward and backward. For a fresh process."""
    contestant = make_contestants(_small(shape), device=torch.device("cpu"), slow=False)[name]
    contestant.run()  # libraries, thread pools and their stacks
    contestant = make_contestants(shape, device=torch.device("cpu"), slow=False, checked=False)[name]
    before = _start_high_water_mark()
    contestant.run()
    return _high_water_mark() - before


def _start_high_water_mark() -> int:
    """Lets the mark start anew from what is in use, where the system can; bytes."""
    if _STATUS.exists():
        # What was freed on the way stays resident, and would be taken again unseen.
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        # Importing PyTorch needs more for a moment than stays in use, which would hide what comes after.
        Path("/proc/self/clear_refs").write_text("5")
    return _high_water_mark()


def _high_water_mark() -> int:
    """Bytes."""
    if _STATUS.exists():
        # Not getrusage: a process inherits that mark from the one that started it, and so from a large benchmark.
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _small(shape: Shape) -> Shape:
    return Shape(2, shape.channels, shape.outputs, 8, 8, *astuple(shape)[5:])


def peak_memory(shape: Shape, name: str, *, processes: int = 5, threads: int) -> int:
    """The least growth over some fresh processes, in bytes."""
    program = (
        "import sys, torch; torch.set_num_threads(int(sys.argv[1])); "
        "from acu_core.bench.contestants import Shape; from acu_core.bench.peak_memory import growth_in_this_process; "
        "print(growth_in_this_process(Shape(*map(int, sys.argv[3:])), sys.argv[2]))"
    )
    numbers = [str(number) for number in astuple(shape)]
    answers = [
        subprocess.run(
            [sys.executable, "-c", program, str(threads), name, *numbers],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for _ in range(processes)
    ]
    return min(int(answer.stdout) for answer in answers)
