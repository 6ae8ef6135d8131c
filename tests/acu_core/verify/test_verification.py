"""The verification passes here, and it finds what is wrong with an operator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from acu_core.errors import UserError
from acu_core.op import functional, library
from acu_core.op.reference import active_conv2d_reference
from acu_core.verify import checks, execution, repetition, verification
from acu_core.verify.case import CASES, LAYOUTS, Case, in_layout, right, run
from acu_core.verify.deviation import Deviation, deviation
from acu_core.verify.exact_products import exact_products
from acu_core.verify.finding import Finding, find

CPU = torch.device("cpu")
REAL = functional.active_conv2d
Operator = Callable[..., Tensor]


@pytest.fixture
def one_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the best instruction set, and no compiler for PyTorch's graphs: what is left takes seconds."""
    monkeypatch.setattr(verification, "kernels_of", lambda device: (library.instruction_set(),))
    monkeypatch.setattr(execution, "missing_compiler", lambda device: "there is no C++ compiler here")


def verified(names: set[str] | None = None) -> list[Finding]:
    return [finding for finding in verification.verify(CPU) if names is None or finding.name in names]


@pytest.mark.usefixtures("one_set")
def test_it_passes_here() -> None:
    findings = verified()
    assert [finding for finding in findings if finding.verdict == "no"] == []
    (left,) = [finding for finding in findings if finding.verdict == "note"]
    assert left.where == "there is no C++ compiler here: torch.compile cannot be used here"
    names = {finding.name for finding in findings}
    dtypes = ("float32", "float64", "float16", "bfloat16")
    assert names >= {f"{dtype}, {layout}" for dtype in dtypes for layout in LAYOUTS}
    assert names >= {"no images", "1x1 images", "large shapes", "inf and NaN in images", "torch.compile, traced"}
    assert names >= {"the same bits again", "the same bits in another process"}
    end = verification.summary(findings)
    assert end.passed
    assert end.sentence.startswith(f"All {len(findings) - 1} checks passed; 1 could not be made here")


def test_every_instruction_set_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(device: torch.device, *, everything: bool) -> Iterator[checks.Check]:
        def note() -> Deviation:
            seen.append(library.instruction_set())
            return Deviation(0.0, 0.0)

        yield checks.Check("look", "nothing", note)

    monkeypatch.setattr(verification, "_checks", look)
    before = library.instruction_set()
    findings = verified()
    assert tuple(seen) == library.supported_instruction_sets()
    # In the other process too, whose digests are asked for by name.
    assert [finding.verdict for finding in findings] == ["ok"] * 2 * len(seen)
    assert library.instruction_set() == before


def plus(share: float, when: Callable[..., bool] = lambda *arguments: True) -> Operator:
    """An operator whose output is off by a share of itself."""

    def operator(*arguments: object) -> Tensor:
        output = REAL(*arguments)
        return output * (1 + share) if when(*arguments) else output

    return operator


def wrong_gradient(input: Tensor, weight: Tensor, positions: Tensor, *rest: object) -> Tensor:
    return REAL(input, weight, positions + 1e-3 * (positions - positions.detach()), *rest)


def loses_layout(*arguments: object) -> Tensor:
    return REAL(*arguments).contiguous()


def narrow(input: Tensor, weight: Tensor, positions: Tensor, bias: Tensor | None, *rest: object) -> Tensor:
    """float16 that was computed in bfloat16."""
    if input.dtype != torch.float16:
        return REAL(input, weight, positions, bias, *rest)
    tensors = (None if tensor is None else tensor.bfloat16() for tensor in (weight, bias))
    weight, bias = tensors
    return REAL(input.bfloat16(), weight, positions, bias, *rest).half()


def casts_positions(input: Tensor, weight: Tensor, positions: Tensor, *rest: object) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        positions = positions.bfloat16().float()
    return REAL(input, weight, positions, *rest)


def channels_last(input: Tensor, *rest: object) -> bool:
    return input.is_contiguous(memory_format=torch.channels_last) and not input.is_contiguous()


def strided(
    input: Tensor, weight: Tensor, positions: Tensor, bias: object = None, stride=(1, 1), *rest: object
) -> bool:
    return stride != (1, 1)


def dtype_is(dtype: torch.dtype) -> Callable[..., bool]:
    return lambda input, *rest: input.dtype == dtype


def made(found: Iterator[checks.Check]) -> dict[str, bool]:
    """Which checks pass."""
    results = [find("baseline", check.name, check.compared, check.make) for check in found]
    return {result.name: result.verdict == "ok" for result in results}


ALL = {f"{dtype}, {layout}" for dtype in ("float32", "float64", "float16", "bfloat16") for layout in LAYOUTS}


@pytest.mark.parametrize(
    ("operator", "failing"),
    [
        (plus(3e-5), {name for name in ALL if "float32" in name or "float64" in name}),
        (plus(1e-3, channels_last), {name for name in ALL if "channels_last" in name and "bfloat" not in name}),
        (plus(1e-10, dtype_is(torch.float64)), {name for name in ALL if "float64" in name}),
        (plus(1e-2, dtype_is(torch.bfloat16)), {name for name in ALL if "bfloat16" in name}),
        (plus(1e-2, strided), ALL),
        (loses_layout, {name for name in ALL if "channels_last" in name}),
        (narrow, {f"float16, {layout}" for layout in LAYOUTS}),
        (wrong_gradient, ALL),
    ],
    ids=["a little", "one layout", "float64", "bfloat16", "strides", "layout lost", "narrow", "gradient"],
)
def test_a_wrong_operator_fails_where_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch, operator: Operator, failing: set[str]
) -> None:
    monkeypatch.setattr(functional, "active_conv2d", operator)
    parity = (check for check in checks.parity_checks(CPU) if check.name in ALL)
    assert {name for name, passed in made(parity).items() if not passed} == failing


def test_what_must_not_be_seen_and_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # A dense kernel multiplies every pixel in its window, and takes positions that are not finite for an error.
    monkeypatch.setattr(functional, "active_conv2d", active_conv2d_reference)
    assert made(checks.value_checks(CPU)) == {
        "inf and NaN in images": False,
        "positions that are not finite": True,
    }


def test_positions_that_are_not_finite_and_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def takes(input: Tensor, weight: Tensor, positions: Tensor, *rest: object) -> Tensor:
        return REAL(input, weight, positions.nan_to_num(0.0, 0.0, 0.0), *rest)

    monkeypatch.setattr(functional, "active_conv2d", takes)
    assert made(checks.value_checks(CPU)) == {"inf and NaN in images": True, "positions that are not finite": False}


def test_positions_that_autocast_has_cast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional, "active_conv2d", casts_positions)
    assert not any(made(checks.autocast_checks(CPU)).values())


def test_a_graph_that_computes_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled_otherwise(*arguments: object) -> Tensor:
        output = REAL(*arguments)
        return output * 1.001 if torch.compiler.is_compiling() else output

    monkeypatch.setattr(functional, "active_conv2d", compiled_otherwise)
    assert not execution.compiled(CPU, "aot_eager").passes


def test_no_images_that_give_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    def divides(input: Tensor, weight: Tensor, *rest: object) -> Tensor:
        return REAL(input, weight / input.shape[0] * input.shape[0], *rest)

    monkeypatch.setattr(functional, "active_conv2d", divides)
    assert not made(check for check in checks.parity_checks(CPU) if check.name == "no images")["no images"]


def test_bits_that_change_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def seventh(*arguments: object) -> Tensor:
        output = REAL(*arguments)
        if next(calls) % 7 == 6:
            output = output * (1 + 2 * torch.finfo(output.dtype).eps)
        return output

    monkeypatch.setattr(functional, "active_conv2d", seventh)
    found = repetition.repeated(CPU)
    assert not found.passes
    assert found.error > 0


def test_bits_of_another_process_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    name = library.instruction_set()
    answers = repetition.digests_elsewhere(CPU, (name,))
    assert checks.elsewhere(CPU, name, lambda: answers).passes
    # Its gradients are off by as much as its output.
    monkeypatch.setattr(functional, "active_conv2d", plus(1e-6))
    found = checks.elsewhere(CPU, name, lambda: answers)
    assert found.error == len(answers[name])


def test_kernels_for_one_instruction_set_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_baseline(*arguments: object) -> bool:
        return library.instruction_set() == "baseline"

    def few(device: torch.device, *, everything: bool) -> Iterator[checks.Check]:
        yield checks.Check("few", "some", lambda: checks.agreement(device, CASES[:2], (torch.float32,)))

    monkeypatch.setattr(functional, "active_conv2d", plus(1e-3, only_baseline))
    monkeypatch.setattr(verification, "_checks", few)
    findings = verified({"few"})
    assert {finding.kernels: finding.verdict for finding in findings} == {
        name: "no" if name == "baseline" else "ok" for name in library.supported_instruction_sets()
    }
    end = verification.summary(findings)
    assert not end.passed
    assert "do not trust a training with the kernels for baseline on this machine, and report it" in end.sentence
    best = library.supported_instruction_sets()[-1]
    assert (f"{library.CHOICE}={best} in the environment" in end.sentence) == (best != "baseline")


def test_an_operator_that_raises_is_wrong_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*arguments: object) -> Tensor:
        raise RuntimeError("CUDA error: an illegal memory access\nmore")

    monkeypatch.setattr(functional, "active_conv2d", raises)
    finding = find("cuda", "x", "y", lambda: checks.agreement(CPU, CASES))
    assert (finding.verdict, finding.error) == ("no", None)
    assert finding.where == "RuntimeError: CUDA error: an illegal memory access"


def test_without_a_compiled_operator_nothing_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "has_kernel", lambda device_type: False)
    (finding,) = verification.verify(CPU)
    assert finding.verdict == "no"
    assert "plain PyTorch" in finding.where
    end = verification.summary([finding])
    assert not end.passed
    assert end.sentence.startswith("Nothing was verified")


@pytest.mark.parametrize("name", ["cuda:99", "mps", "meta", "nonsense"])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(UserError):
        verification.devices(name)


def test_the_arithmetic_of_products_is_left_as_it_was() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        with exact_products():
            assert not matmul.allow_tf32
            assert not matmul.allow_bf16_reduced_precision_reduction
        assert matmul.allow_tf32
        assert matmul.allow_bf16_reduced_precision_reduction
    finally:
        matmul.allow_tf32 = before


def test_strided_tensors_keep_their_gaps_on_the_way_to_a_device() -> None:
    case = Case("gaps")
    tensors = case.draw(torch.float32, "strided")
    moved = tensors.to(torch.device("meta"))
    assert [tensor.stride() for tensor in moved] == [tensor.stride() for tensor in tensors]
    assert moved.input.storage_offset() == tensors.input.storage_offset() != 0
    assert torch.equal(in_layout(case.draw(torch.float32).input, "strided"), tensors.input)


def test_a_result_next_to_an_integer_may_be_as_inexact_as_its_parts() -> None:
    case = next(case for case in CASES if case.positions == "beside")
    tensors = case.draw(torch.float32)
    expected = right(case, tensors)
    found = deviation(case, tensors, run(case, tensors), expected)
    assert found.passes
    wrong = expected._replace(positions=expected.positions * 1.01)
    assert not deviation(
        case, tensors, wrong._replace(**{k: v.float() for k, v in wrong._asdict().items()}), expected
    ).passes


@pytest.mark.skipif(not library.has_kernel("cuda"), reason="the CUDA kernels are not built")
def test_the_scratch_memory_is_a_setting() -> None:
    before = library.cuda_scratch_bytes()
    assert before == 256 << 20
    with library.with_cuda_scratch_bytes(3000):
        assert library.cuda_scratch_bytes() == 3000
    assert library.cuda_scratch_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"fused"}, "Until then, ACU_CUDA_KERNELS=columns in the environment avoids them."),
        ({"columns"}, "Until then, train on the CPU."),
        ({"columns", "fused"}, "Until then, train on the CPU."),
    ],
)
def test_what_to_do_where_cuda_kernels_are_wrong(wrong: set[str], words: str) -> None:
    findings = [
        Finding(name, "few", "some", "no" if name in wrong else "ok", 1.0, 0.1, "", 0.0)
        for name in ("columns", "fused")
    ]
    end = verification.summary(findings)
    assert not end.passed
    assert end.sentence.endswith(words)
    # The CPU's are wrong too: then nothing is left to advise.
    end = verification.summary([*findings, Finding("avx2", "few", "some", "no", 1.0, 0.1, "", 0.0)])
    assert "train on the CPU" not in end.sentence


def test_both_kinds_of_cuda_kernels_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def look(device: torch.device, *, everything: bool) -> Iterator[checks.Check]:
        def note() -> Deviation:
            seen.append(repetition.KERNELS.mode)
            return Deviation(0.0, 0.0)

        yield checks.Check("look", "nothing", note)

    monkeypatch.setattr(verification, "_checks", look)
    monkeypatch.setattr(library, "has_kernel", lambda device_type: True)
    monkeypatch.setattr(repetition.KERNELS, "_compiled", Silent())
    monkeypatch.setattr(repetition, "digests_elsewhere", lambda device, kernels: {name: {} for name in kernels})
    monkeypatch.setattr(repetition, "digests", lambda device, kernels: {})
    before = repetition.KERNELS.mode
    findings = list(verification.verify(torch.device("cuda")))
    assert seen == ["columns", "fused"]
    assert [finding.kernels for finding in findings] == ["columns", "columns", "fused", "fused"]
    assert repetition.KERNELS.mode == before


class Silent:
    """Kernels that are told what to use and are never called."""

    told = "auto"

    def mode(self) -> str:
        return self.told

    def use(self, mode: str) -> None:
        self.told = mode
