"""What the compiler made of the CUDA kernels, read off the compiled library: needs no GPU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from acu_core.op import library

# Registers of a multiprocessor, and what a block may have of its shared memory, on 8.0, 9.0 and all between.
REGISTERS = 65536
SHARED_BYTES = 99 << 10
THREADS = 256


@dataclass(frozen=True)
class Kernel:
    """A kernel as compiled for one architecture."""

    architecture: str
    name: str
    registers: int
    stack: int
    shared: int
    local: int

    @property
    def blocks_each(self) -> int:
        """How many blocks of a fused kernel one multiprocessor is to hold, as its launch bounds say."""
        bounds = re.search(r"run_blocks<.*, (?:\(int\))?(\d+), ", self.name)
        assert bounds is not None, self.name
        return int(bounds.group(1))


def _cuobjdump() -> str | None:
    """From the toolkit, or the one that PyTorch's Triton brings."""
    places = [shutil.which("cuobjdump")]
    if os.environ.get("CUDA_HOME"):
        places.append(f"{os.environ['CUDA_HOME']}/bin/cuobjdump")
    triton = find_spec("triton")
    if triton is not None and triton.origin is not None:
        places.append(str(Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"))
    return next((place for place in places if place is not None and Path(place).exists()), None)


def read() -> list[Kernel] | str:
    """Every kernel for every architecture in `_C_cuda`, or why they cannot be read."""
    found = sorted(library.FOLDER.glob("_C_cuda.*so"))
    if not found:
        return "the CUDA kernels were not built"
    cuobjdump, filt = _cuobjdump(), shutil.which("c++filt")
    if cuobjdump is None or filt is None:
        return "there is no cuobjdump or no c++filt on this machine"
    listing = subprocess.run(
        [cuobjdump, "--dump-resource-usage", str(found[-1])], capture_output=True, text=True, check=True
    ).stdout
    listing = subprocess.run([filt], input=listing, capture_output=True, text=True, check=True).stdout
    kernels, architecture = [], ""
    for line in listing.splitlines():
        if target := re.match(r"arch = sm_(\d+)", line):
            architecture = target.group(1)
        elif function := re.match(r" *Function (.*):$", line):
            name = function.group(1)
        elif usage := re.match(r" *REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            kernels.append(Kernel(architecture, name, *map(int, usage.groups())))
    return kernels


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    found = read()
    if isinstance(found, str):
        pytest.skip(found)
    return found


def fused(kernels: list[Kernel]) -> list[Kernel]:
    return [kernel for kernel in kernels if "run_blocks" in kernel.name]


def test_every_kernel_is_there_for_both_architectures(kernels: list[Kernel]) -> None:
    for architecture in ("80", "90"):
        names = [kernel.name for kernel in fused(kernels) if kernel.architecture == architecture]
        for kind in ("CellProduct", "FoldedWeights"):
            assert len([name for name in names if f"{kind}<" in name]) == 15, names
        for kind in ("CornerProducts", "SumOfCells", "SumOfRest"):
            for element in ("Half", "BFloat16", "float"):
                assert len([name for name in names if f"{kind}<{element}" in name.replace("c10::", "")]) == 1, names
        assert [kernel for kernel in kernels if kernel.architecture == architecture and "run_body" in kernel.name]


def test_nothing_is_spilt(kernels: list[Kernel]) -> None:
    """A register that is spilt has its place on the stack."""
    assert len(kernels) > 20
    assert [kernel for kernel in kernels if kernel.stack or kernel.local] == []


def test_blocks_find_room(kernels: list[Kernel]) -> None:
    """As many of them on a multiprocessor as the kernel was compiled for; shared memory is asked for at each launch."""
    for kernel in fused(kernels):
        # Handed out by the warp, 256 at a time.
        warps = kernel.blocks_each * THREADS // 32
        assert warps * -(-kernel.registers * 32 // 256) * 256 <= REGISTERS, kernel
        assert kernel.shared <= SHARED_BYTES, kernel


if __name__ == "__main__":
    # The table of docs/measurements.md.
    by_name: dict[str, dict[str, Kernel]] = {}
    listed = read()
    for kernel in listed if isinstance(listed, list) else []:
        by_name.setdefault(kernel.name, {})[kernel.architecture] = kernel
    for name, compiled in sorted(by_name.items()):
        print(
            name,
            *(f"{a}: {k.registers}, {k.stack + k.local}, {k.shared}" for a, k in sorted(compiled.items())),
            sep=" | ",
        )
