"""ThreadSanitizer looks at the fused CUDA kernels, run with a thread for each CUDA thread: it finds nothing.

That means something because it does find each barrier that is taken away.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from torch.utils.cpp_extension import include_paths

CUDA_SOURCES = Path(__file__).parents[3] / "acu_core" / "op" / "csrc" / "cuda"
BARRIERS = [
    (path.name, line)
    for path in sorted(CUDA_SOURCES.glob("fused_*.cuh"))
    for line, text in enumerate(path.read_text().splitlines(), 1)
    if re.search(r"__sync(threads|threads_or|warp)\(", text)
]
FOUND = 66


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler on this machine")
    program = tmp_path_factory.mktemp("fused_races") / "fused_races"
    command = [compiler, "-std=c++20", "-O1", "-g1", "-fsanitize=thread", "-pthread"]
    command += [f"-I{path}" for path in [CUDA_SOURCES, *include_paths()]]
    command += [str(Path(__file__).with_name("fused_races.cpp")), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "libtsan" in built.stderr or "unsupported option '-fsanitize=thread'" in built.stderr:
        pytest.skip("the C++ compiler of this machine has no ThreadSanitizer")
    assert built.returncode == 0, built.stderr
    return program


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TSAN_OPTIONS": f"halt_on_error=1:exitcode={FOUND}:history_size=1"}
    result = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    if "unexpected memory mapping" in result.stderr:
        pytest.skip("ThreadSanitizer does not run with this kernel's address space layout")
    return result


def test_no_races_and_right_values(program: Path) -> None:
    result = run(program)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stderr


@pytest.mark.parametrize(("file", "line"), BARRIERS, ids=lambda value: str(value))
def test_a_barrier_taken_away_is_found(program: Path, file: str, line: int) -> None:
    result = run(program, file, str(line))
    assert result.returncode == FOUND, result.stdout + result.stderr
    assert "data race" in result.stderr
