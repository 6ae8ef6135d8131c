"""What is for x86-64 only stays out of the way elsewhere; CONTRIBUTING.md says how to run the kernels on ARM64."""

from __future__ import annotations

import importlib
import platform
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
CPU_SOURCES = ROOT / "acu_core" / "op" / "csrc" / "cpu"
X86_ONLY = re.compile(
    r"[a-z]mmintrin|x86intrin|\b_mm\d*_|\b__m(128|256|512)|__builtin_(cpu_|ia32)|\btarget\s*\(|__cpuid"
)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("ACU_CUDA", "0")  # else its import sets CUDA_HOME
    monkeypatch.chdir(ROOT)
    return importlib.import_module("acu_core.op.build")


@pytest.mark.parametrize("machine", ["aarch64", "arm64", "x86_64"])
def test_no_flag_and_no_file_is_for_one_processor(
    build: ModuleType, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "processor", lambda: machine)
    extension = build.cpu_extension()
    flags = [*extension.extra_compile_args["cxx"], *extension.extra_link_args]
    # A flag for the whole library would also end the wheel's promise to run on any x86-64.
    assert not [flag for flag in flags if flag.startswith(("-m", "/arch", "-Wa,")) or "ffast-math" in flag]
    compiled = {Path(name).name for name in extension.sources}
    assert {"instruction_set.cpp", "kernels_baseline.cpp", "active_conv2d_cpu.cpp", "schema.cpp"} <= compiled
    if machine != "x86_64":
        for name in extension.sources:
            assert not X86_ONLY.search(outside_of_x86((ROOT / name).read_text())), name


def outside_of_x86(source: str) -> str:
    """What other processors' compilers see: all but what stands in `#if defined(__x86_64__)`, and no comments."""
    inside: list[bool] = []  # one entry for each open #if: whether it is for x86-64
    seen = []
    for line in source.splitlines():
        directive = re.match(r"\s*#\s*(if|ifdef|ifndef|else|elif|endif)\b(.*)", line)
        if directive is None:
            if not any(inside):
                seen.append(line.partition("//")[0])
        elif directive[1] in ("if", "ifdef", "ifndef"):
            inside.append(
                directive[1] != "ifndef" and re.match(r"[\s(]*(defined)?[\s(]*__x86_64__", directive[2]) is not None
            )
        elif directive[1] == "endif":
            inside.pop()
        else:
            inside[-1] = False
    return "\n".join(seen)


@pytest.mark.parametrize("path", sorted(CPU_SOURCES.iterdir()), ids=lambda path: path.name)
def test_instructions_of_x86_are_behind_its_macro(path: Path) -> None:
    assert not X86_ONLY.search(outside_of_x86(path.read_text()))


def test_there_are_such_instructions_to_hide() -> None:
    assert len([path for path in CPU_SOURCES.iterdir() if X86_ONLY.search(path.read_text())]) >= 3
    guarded = "#if defined(__x86_64__)\n_mm_pause();\n#else\nplain();\n#endif\n_mm_pause();  // _mm_pause"
    assert outside_of_x86(guarded) == "plain();\n_mm_pause();  "
