"""What nvcc made of the CUDA kernels: read off the compiled library, which needs no GPU."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from acu_core.op import library

KERNELS = re.compile(r"^_ZN3acu4cuda\d+run_(?:body|warps)I")
# Kernels that blend corners of 16-bit images, by the name of their body.
BLENDING = ("BuildColumns", "SumPositionGradients", "GatherInputGradient")


def cuobjdump() -> str | None:
    """The toolkit's, or the one that comes with Triton, which comes with PyTorch."""
    found = shutil.which("cuobjdump")
    triton = importlib.util.find_spec("triton")
    if found is None and triton is not None and triton.origin is not None:
        beside = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        found = str(beside) if beside.exists() else None
    return found


@pytest.fixture(scope="module")
def compiled() -> Path:
    found = sorted(library.FOLDER.glob("_C_cuda.*so"))
    if not found:
        pytest.skip("the CUDA kernels were not built")
    if cuobjdump() is None:
        pytest.skip("there is no cuobjdump here")
    return found[0]


def dump(library: Path, *options: str) -> str:
    """What cuobjdump prints of the library."""
    return subprocess.run([str(cuobjdump()), *options, str(library)], capture_output=True, text=True, check=True).stdout


def resources(library: Path) -> dict[tuple[str, str], dict[str, int]]:
    """Registers, stack and the rest by architecture and kernel."""
    architecture, name = "", ""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for line in dump(library, "--dump-resource-usage").splitlines():
        if heading := re.search(r"arch = (sm_\w+)", line):
            architecture = heading.group(1)
        elif heading := re.search(r"Function (\S+):", line):
            name = heading.group(1)
        elif "REG:" in line and KERNELS.match(name):
            found[architecture, name] = {word: int(number) for word, number in re.findall(r"(\w+):(\d+)", line)}
    return found


def test_no_kernel_spills_registers(compiled: Path) -> None:
    found = resources(compiled)
    assert {architecture for architecture, _ in found} >= {"sm_80", "sm_90"}
    assert len(found) > 100
    assert {key for key, usage in found.items() if usage["STACK"] or usage["LOCAL"]} == set()


@pytest.mark.parametrize("body", BLENDING)
def test_16_bit_corners_are_loaded_before_any_is_converted(compiled: Path, body: str) -> None:
    """Else each load would wait for the one before it. float16, whose conversion is an instruction of its own."""
    names = {name for _, name in resources(compiled) if re.search(rf"\d{body}IN3c104HalfE(?:S\d_)?Li8E", name)}
    assert names
    for name in names:
        code = dump(compiled, "-sass", "-fun", name)
        functions = code.split("Function : ")[1:]
        assert functions
        for function in functions:
            found = re.findall(r"\b(LDG\.E\.128\S*|HADD2\.F32)", function)
            assert found[:4] == [load for load in found if load.startswith("LDG")][:4], name
            assert len([load for load in found if load.startswith("LDG")]) >= 4, name
