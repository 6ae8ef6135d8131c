"""The operator on a GPU: all that `acu doctor --verify` checks, one test each, by both kinds of kernels; and `auto`.

`tests/gpu_day.sh` begins with the tiny one, and runs the few under compute-sanitizer.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from gpu import needs_gpu
from torch import Tensor

from acu_core.learn.backend_flags import float32_products
from acu_core.op.cuda_kernels import KERNELS
from acu_core.verify import repetition, verification
from acu_core.verify.case import CASES, Case, Results, right, run
from acu_core.verify.checks import agrees, elsewhere
from acu_core.verify.exact_products import exact_products
from acu_core.verify.finding import find

pytestmark = needs_gpu
GPU = torch.device("cuda")
KINDS = ("columns", "fused")
CHECKS = {check.name: check for check in verification._checks(GPU, everything=True)}
# Whole tiles and parts of them, in channels, outputs and pixels.
FEW = (
    CASES[0],
    Case("tiles", images=2, channels=48, outputs=64, size=(16, 15)),
    Case("stride 2", channels=16, outputs=24, size=(9, 10), stride=(2, 2)),
    Case("groups", channels=32, outputs=32, groups=2, position_groups=2),
)


@pytest.fixture
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    with KERNELS.using(request.param), exact_products():
        yield request.param


@pytest.fixture
def undecided() -> Iterator[None]:
    before = KERNELS.mode
    KERNELS.resume("auto", {})
    yield
    KERNELS.resume(before, {})


def assert_right(case: Case, dtype: torch.dtype, layout: str = "contiguous") -> Results:
    tensors = case.draw(dtype, layout)
    found = run(case, tensors.to(GPU))
    far = agrees(case, tensors, found, right(case, tensors))
    assert far.passes, far
    return found


def test_a_tiny_forward_and_backward() -> None:
    assert_right(Case("tiny", images=1, channels=2, outputs=3, size=(4, 4)), torch.float32)


@pytest.mark.parametrize("kernels", KINDS, indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_few_calls(kernels: str, case: Case, dtype: torch.dtype) -> None:
    assert_right(case, dtype, "channels_last")


@pytest.mark.parametrize("kernels", KINDS, indirect=True)
@pytest.mark.parametrize("name", CHECKS)
def test_a_check_of_the_verification(kernels: str, name: str) -> None:
    check = CHECKS[name]
    found = find(kernels, name, check.compared, check.make)
    if found.verdict == "note":
        pytest.skip(found.where)
    assert found.verdict == "ok", found


@pytest.mark.parametrize("kernels", KINDS, indirect=True)
def test_the_same_bits_in_another_process(kernels: str) -> None:
    answers = repetition.digests_elsewhere(GPU, (kernels,))
    found = elsewhere(GPU, kernels, lambda: answers)
    assert found.passes, found


@pytest.mark.parametrize("kernels", KINDS, indirect=True)
def test_the_same_bits_from_two_threads(kernels: str) -> None:
    case = FEW[1]
    given = case.draw(torch.float16).to(GPU)
    expected = repetition.bits(run(case, given))
    found: list[list[bytes]] = []
    start = threading.Barrier(2)

    def work() -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.default_stream())
        start.wait()
        with torch.cuda.stream(stream):
            for _ in range(5):
                results = run(case, given)
                stream.synchronize()
                found.append(repetition.bits(results))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 10


@pytest.mark.usefixtures("undecided")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_auto_decides_once_and_is_right(dtype: torch.dtype, layout: str) -> None:
    first = assert_right(FEW[1], dtype, layout)
    decided = KERNELS.choices
    assert [text.partition(",")[0] for text in decided] == ["backward of input", "forward"]
    again = assert_right(FEW[1], dtype, layout)
    assert KERNELS.choices == decided
    # The first call, too, is computed by what was chosen in it.
    assert repetition.bits(first) == repetition.bits(again)


@pytest.mark.usefixtures("undecided")
def test_auto_in_tf32() -> None:
    case = FEW[1]
    tensors = case.draw(torch.float32)
    with float32_products("tf32"):
        found = run(case, tensors.to(GPU))
    assert all(", tf32, " in text for text in KERNELS.choices)
    assert KERNELS.choices
    for name, one, expected in zip(Results._fields, found, right(case, tensors), strict=True):
        error = float((one.cpu().double() - expected).norm() / expected.norm())
        assert error < 5e-3, (name, error)


@pytest.mark.usefixtures("undecided")
def test_auto_decides_nothing_in_a_graph_and_keeps_what_is_decided() -> None:
    case = FEW[1]
    given = case.draw(torch.float16).to(GPU)

    def captured() -> list[bytes]:
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with KERNELS.using("columns"), torch.cuda.stream(stream):
            run(case, given)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            results = run(case, given)
        graph.replay()
        torch.cuda.synchronize()
        return repetition.bits(results)

    with KERNELS.using("columns"):
        columns = repetition.bits(run(case, given))
    assert captured() == columns
    assert KERNELS.choices == {}
    decided = repetition.bits(run(case, given))
    assert KERNELS.choices
    assert captured() == decided


@pytest.mark.usefixtures("undecided")
def test_a_compiled_graph_takes_what_is_decided() -> None:
    case = replace(FEW[1], name="compiled")
    given = case.draw(torch.float16).to(GPU)
    decided = repetition.bits(run(case, given))
    torch.compiler.reset()
    leaves = [tensor.detach().requires_grad_() for tensor in given[:4]]

    def called(*tensors: Tensor) -> Tensor:
        from acu_core.op import functional

        return functional.active_conv2d(*tensors, *case.settings)

    output = torch.compile(called, fullgraph=True, backend="aot_eager")(*leaves)
    gradients = torch.autograd.grad(output, leaves, given.grad_output)
    torch.compiler.reset()
    assert repetition.bits(Results(output.detach(), *gradients)) == decided


@pytest.mark.usefixtures("undecided")
def test_another_process_with_the_record_has_the_same_bits() -> None:
    case = FEW[1]
    ours = repetition.bits(run(case, case.draw(torch.float16).to(GPU)))
    program = (
        "import hashlib, json, sys, torch\n"
        "from acu_core.op.cuda_kernels import KERNELS\n"
        "from acu_core.verify import repetition\n"
        "from acu_core.verify.case import Case, run\n"
        "KERNELS.resume('auto', json.loads(sys.argv[1]))\n"
        "case = Case('tiles', images=2, channels=48, outputs=64, size=(16, 15))\n"
        "results = run(case, case.draw(torch.float16).to(torch.device('cuda')))\n"
        "print(hashlib.sha256(b''.join(repetition.bits(results))).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(KERNELS.choices)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(b"".join(ours)).hexdigest()
