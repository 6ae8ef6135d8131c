"""The same bits, again and in another process. Run as a module, it prints the digests that the other one compares."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from acu_core.op import library
from acu_core.op.cuda_kernels import KERNELS
from acu_core.verify.case import CASES, DTYPES, Case, Results, run
from acu_core.verify.deviation import NOTHING, Deviation
from acu_core.verify.exact_products import exact_products
from acu_core.verify.finding import NotChecked

REPEATS = 20
THREADS = (1, 3)
"""Three: shares that are not equal, also where there are fewer processors."""
REPEATED = (
    *(case for case in CASES if case.name in ("3x3 between pixels", "depthwise", "groups")),
    Case("tiles for every thread", images=3, channels=36, outputs=40, size=(16, 15)),
    Case("one image for all threads", images=1, channels=36, outputs=40, size=(20, 17)),
)
"""Small, as each is called some hundred times; the last two cut the sums of one call into several."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Lets PyTorch use so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def computed_by(kernels: str) -> AbstractContextManager[None]:
    """Lets the whole process compute by an instruction set of the CPU, or by one kind of CUDA kernels, in the block."""
    if kernels in library.INSTRUCTION_SETS:
        return library.with_instruction_set(kernels)
    return KERNELS.using(kernels)


def repeated(device: torch.device) -> Deviation:
    """How many results of 20 repeats have other bits than the first."""
    different, calls, where = 0, 0, ""
    for case, dtype, layout, count in _calls(device):
        tensors = case.draw(dtype, layout).to(device)
        with threads(count):
            first = bits(run(case, tensors))
            for repetition in range(REPEATS):
                _other_work(device, repetition)
                other = bits(run(case, tensors))
                calls += 1
                for name, mine, theirs in zip(Results._fields, other, first, strict=True):
                    if mine != theirs:
                        different, where = different + 1, where or f"{case.name}, {dtype}, {layout}: {name}"
    return Deviation(float(different), 0.0, where or f"{calls} repeats")


def digests(device: torch.device, kernels: str) -> dict[str, str]:
    """One for each call and result."""
    found = {}
    with computed_by(kernels):
        for case, dtype, layout, count in _calls(device):
            with threads(count):
                results = bits(run(case, case.draw(dtype, layout).to(device)))
            for name, result in zip(Results._fields, results, strict=True):
                found[f"{case.name}, {dtype}, {layout}, {count} threads: {name}"] = hashlib.sha256(result).hexdigest()
    return found


def digests_elsewhere(device: torch.device, kernels: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """The digests for each of the kernels, by another process.

    Raises NotChecked where it cannot be started, and RuntimeError where it fails.
    """
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "acu_core.verify.repetition", str(device), *kernels]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    except OSError as error:
        raise NotChecked(f"another process cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["the other process failed"])[-1])
    answer: dict[str, dict[str, str]] = json.loads(done.stdout)
    return answer


def compared(ours: dict[str, str], theirs: dict[str, str]) -> Deviation:
    """How many digests differ."""
    different = [key for key in ours if theirs.get(key) != ours[key]]
    return Deviation(float(len(different)), 0.0, different[0] if different else f"{len(ours)} results")


def bits(results: Results) -> list[bytes]:
    """Of each result, in the order of its indices."""
    return [_bytes(result) for result in results]


def difference(actual: Results, expected: Results, where: str) -> Deviation:
    """How many results have other bits."""
    pairs = zip(Results._fields, bits(actual), bits(expected), strict=True)
    different = [name for name, mine, theirs in pairs if mine != theirs]
    return Deviation(float(len(different)), 0.0, f"{where}: {', '.join(different)}") if different else NOTHING


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().cpu().view(torch.uint8).numpy().tobytes()


def _calls(device: torch.device) -> Iterator[tuple[Case, torch.dtype, str, int]]:
    for layout in ("contiguous", "channels_last"):
        for dtype in DTYPES if device.type == "cuda" else (torch.float32, torch.float64):
            for count in THREADS if device.type == "cpu" else (1,):
                for case in REPEATED:
                    yield case, dtype, layout, count


def _other_work(device: torch.device, repetition: int) -> None:
    """Leaves numbers in the memory that the next call gets, in the caches and in the order of free blocks."""
    used = [torch.full((size * (repetition + 1),), float("nan"), device=device) for size in (100, 5_000, 20_000)]
    torch.mm(torch.ones(50 + repetition, 70, device=device), torch.ones(70, 60, device=device))
    del used


def main() -> None:
    """Prints the digests of the kernels that the command line names, as JSON."""
    device, *kernels = sys.argv[1:]
    with exact_products():
        answers = {name: digests(torch.device(device), name) for name in kernels}
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
