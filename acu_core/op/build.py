"""How the operator is compiled: two libraries on the LibTorch stable ABI, named by `cmdclass` in pyproject.toml.

`_C` holds the schema and the CPU kernels and serves every torch from 2.10 on. `_C_cuda` holds the CUDA kernels only and
is built when nvcc is found. This file is loaded by setuptools on its own, before the package exists, so it imports
nothing of ours.

Environment:
    ACU_CUDA             auto (default), 0 or 1: whether to build the CUDA kernels; 1 makes a missing nvcc an error.
    TORCH_CUDA_ARCH_LIST CUDA architectures; 8.0;9.0+PTX unless given.
    ACU_SANITIZE         1: AddressSanitizer and UndefinedBehaviorSanitizer in the CPU kernels (see CONTRIBUTING.md).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Extension
from setuptools.errors import SetupError

SOURCES = Path("acu_core/op/csrc")
# The oldest torch whose stable ABI is used: 2.10.
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020a000000000000"
DEFAULT_ARCHITECTURES = "8.0;9.0+PTX"

# torch's helper looks for nvcc when it is imported, so CUDA_HOME must be right before that.
_nvcc = shutil.which("nvcc")


def _cuda_home() -> Path | None:
    """The folder of the CUDA toolkit: that of the real nvcc, since the one on PATH may be a wrapper elsewhere."""
    if os.environ.get("CUDA_HOME"):
        return Path(os.environ["CUDA_HOME"])
    if _nvcc is None:
        return None
    plan = subprocess.run(
        [_nvcc, "--dryrun", "-x", "cu", "-E", os.devnull], capture_output=True, text=True, check=False
    )
    top = re.search(r"^#\$ TOP=(.+)$", plan.stderr, re.MULTILINE)
    return Path(top.group(1)).resolve() if top else Path(_nvcc).resolve().parent.parent


_home = _cuda_home() if os.environ.get("ACU_CUDA", "auto") != "0" else None
if _home is not None:
    os.environ["CUDA_HOME"] = str(_home)

from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402


def _nvcc_major(home: Path) -> int | None:
    answer = subprocess.run([str(home / "bin" / "nvcc"), "--version"], capture_output=True, text=True, check=False)
    release = re.search(r"release (\d+)\.", answer.stdout)
    return int(release.group(1)) if release else None


def reason_to_skip_cuda() -> str | None:
    """Why the CUDA kernels are not built, in words for the build log; None when they are.

    Raises:
        SetupError: `ACU_CUDA` is 1 and they cannot be built, or it is not auto, 0 or 1.
    """
    import torch

    choice = os.environ.get("ACU_CUDA", "auto")
    if choice not in {"auto", "0", "1"}:
        raise SetupError(f"ACU_CUDA must be auto, 0 or 1, not {choice!r}")
    if choice == "0":
        return "ACU_CUDA=0"
    if not any((SOURCES / "cuda").glob("*.cu")):
        return "there are no CUDA sources"
    reason = None
    if _home is None or not (_home / "bin" / "nvcc").exists():
        reason = "nvcc was not found"
    elif torch.version.cuda is None:
        reason = "this torch was built without CUDA"
    else:
        ours, theirs = _nvcc_major(_home), int(torch.version.cuda.split(".")[0])
        if ours != theirs:
            reason = f"nvcc is of CUDA {ours}, but torch of CUDA {theirs}"
    if reason is not None and choice == "1":
        raise SetupError(f"ACU_CUDA=1, but {reason}")
    return reason


def _headers(pattern: str) -> list[str]:
    """What a library is compiled again for: its own headers, and those that both libraries have."""
    return sorted(str(path) for own in (pattern, "*.h") for path in SOURCES.glob(own))


def cpu_extension() -> Extension:
    """The library `_C`: schema and CPU kernels."""
    compile_flags = ["-O3", "-std=c++20", "-ffp-contract=fast", "-Wall", "-Wno-unknown-pragmas", STABLE_ABI]
    # The kernels say themselves what is a vector: GCC's own search for them turns the micro-kernel's broadcasts into
    # shuffles once its loop is unrolled.
    compile_flags.append("-fno-tree-slp-vectorize")
    link_flags: list[str] = []
    if os.environ.get("ACU_SANITIZE") == "1":
        sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"]
        compile_flags += sanitize
        link_flags += sanitize
    return CppExtension(  # type: ignore[no-untyped-call]
        "acu_core.op._C",
        [str(SOURCES / "schema.cpp"), *sorted(str(path) for path in (SOURCES / "cpu").glob("*.cpp"))],
        extra_compile_args={"cxx": compile_flags},
        extra_link_args=link_flags,
        depends=_headers("cpu/*.h"),
        py_limited_api=True,
    )


def cuda_extension() -> Extension:
    """The library `_C_cuda`: CUDA kernels."""
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", DEFAULT_ARCHITECTURES)
    # USE_CUDA makes torch's stable header declare the current stream.
    flags = ["-O3", "-std=c++20", STABLE_ABI, "-DUSE_CUDA"]
    return CUDAExtension(  # type: ignore[no-untyped-call]
        "acu_core.op._C_cuda",
        sorted(str(path) for path in (SOURCES / "cuda").glob("*.cu")),
        extra_compile_args={"cxx": flags, "nvcc": flags},
        depends=_headers("cuda/*.cuh"),
        py_limited_api=True,
    )


class BuildOperator(BuildExtension):
    """The `build_ext` command: decides what is compiled when the command runs, not when it is configured."""

    def finalize_options(self) -> None:
        """Replaces the placeholder of pyproject.toml by what this machine can build."""
        extensions = [cpu_extension()]
        reason = reason_to_skip_cuda()
        if reason is None:
            extensions.append(cuda_extension())
        else:
            print(f"acu: the CUDA kernels are not built: {reason}")
        self.distribution.ext_modules = extensions
        super().finalize_options()
