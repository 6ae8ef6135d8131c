"""What the compiled operator keeps of what was decided for calls: it tells them apart, in every thread."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.cpp_extension import include_paths, library_paths

CUDA_SOURCES = Path(__file__).parents[3] / "acu_core" / "op" / "csrc" / "cuda"
FORWARD = -1


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler on this machine")
    library = tmp_path_factory.mktemp("call_choices") / "call_choices.so"
    command = [compiler, "-std=c++20", "-O1", "-fPIC", "-shared", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
    command += [f"-I{path}" for path in [CUDA_SOURCES, *include_paths()]]
    command += [str(Path(__file__).with_name("call_choices_on_host.cpp")), "-o", str(library)]
    command += [f"-L{path}" for path in library_paths()] + ["-ltorch_cpu"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    return torch.ops.acu_choices_on_host


@pytest.fixture
def choices(compiled: Any) -> Iterator[Any]:
    compiled.forget()
    yield compiled
    compiled.forget()
    compiled.force(-1)


def call(**changes: Any) -> tuple[Any, ...]:
    sizes = {"input": (2, 8, 7, 6), "weight": (12, 8, 9), "positions": (1, 9, 2)}
    dtype = changes.pop("dtype", torch.float32)
    tensors = [torch.empty(changes.pop(name, size), dtype=dtype) for name, size in sizes.items()]
    rest = {"stride": (1, 1), "padding": (0, 0, 0, 0), "groups": 1, "channels_last": False, "tf32": False}
    rest |= {"needs": FORWARD} | changes
    return (*tensors, *rest.values())


OTHERS = [
    {"input": (1, 8, 7, 6)},
    {"input": (2, 8, 6, 7)},
    {"input": (2, 4, 7, 6)},
    {"weight": (6, 8, 9)},
    {"weight": (12, 4, 9)},
    {"weight": (12, 8, 4)},
    {"positions": (3, 9, 2)},
    {"stride": (1, 2)},
    {"stride": (2, 1)},
    {"padding": (1, 0, 0, 0)},
    {"padding": (0, 0, 0, 1)},
    {"groups": 2},
    {"channels_last": True},
    {"tf32": True},
    {"dtype": torch.float16},
    {"dtype": torch.bfloat16},
    {"needs": 0b1111},
    {"needs": 0b0110},
]


@pytest.mark.parametrize("changes", OTHERS, ids=lambda changes: "-".join(map(str, *changes.items())))
def test_what_is_decided_for_one_call_is_for_no_other(choices: Any, changes: dict[str, Any]) -> None:
    choices.choose(*call(), 1)
    assert choices.find(*call()) == 1
    assert choices.find(*call(**changes)) == 0
    choices.choose(*call(**changes), 1)
    choices.choose(*call(), 0)
    assert (choices.find(*call()), choices.find(*call(**changes))) == (0, 1)
    choices.forget()
    assert choices.find(*call(**changes)) == 0


def test_tf32_is_a_matter_of_float32_alone(choices: Any) -> None:
    choices.choose(*call(dtype=torch.float16), 1)
    assert choices.find(*call(dtype=torch.float16, tf32=True)) == 1


def test_other_numbers_and_memory_are_the_same_call(choices: Any) -> None:
    choices.choose(*call(), 1)
    image, *rest = call()
    assert choices.find(torch.randn(7, 8, 7, 6)[3:5], *rest) == 1
    assert choices.find(image.to("meta"), *rest) == 1


def test_what_is_forced_is_forced_in_one_thread(choices: Any) -> None:
    assert choices.force(1) == -1
    seen: list[int] = []
    other = threading.Thread(target=lambda: seen.append(choices.force(0)))
    other.start()
    other.join()
    assert seen == [-1]
    assert choices.force(-1) == 1


def test_threads_that_decide_and_ask_at_once(choices: Any) -> None:
    wrong: list[int] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for groups in range(200):
            mine = call(groups=1 + groups, needs=number)
            choices.choose(*mine, 1)
            if choices.find(*mine) != 1:
                wrong.append(groups)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(choices.find(*call(groups=1 + groups, needs=3)) == 1 for groups in range(200))
