"""The compiled libraries use of torch only its stable ABI, so they load beside every torch from 2.10 on."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from acu_core.op import library


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not here")
@pytest.mark.parametrize("stem", ["_C", "_C_cuda"])
def test_only_the_stable_c_interface_of_torch_is_used(stem: str) -> None:
    found = sorted(library.FOLDER.glob(f"{stem}.*so"))
    if not found and stem == "_C_cuda":
        pytest.skip("the CUDA kernels were not built")
    names = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", "--demangle", str(found[0])], capture_output=True, text=True, check=True
    ).stdout
    stable = re.findall(r" U ((?:aoti_)?torch_\w+)", names)
    assert len(stable) > 10
    unstable = [line for line in names.splitlines() if re.search(r"\b(at|c10|torch|caffe2)::", line)]
    assert not unstable
    assert not re.search(r" U Py", names), "Python's own interface would tie it to one version"
