"""`acu doctor --verify`: a line a check, exit status 1 if one fails, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
import torch

from acu_cli import app as app_module
from acu_core.op import functional, library
from acu_core.verify import checks, verification
from acu_core.verify.case import CASES

REAL = functional.active_conv2d


@pytest.fixture(autouse=True)
def _few_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two real checks of one instruction set."""

    def few(device: torch.device, *, everything: bool) -> Iterator[checks.Check]:
        for dtype in (torch.float32, torch.float64):
            name = str(dtype).removeprefix("torch.")

            def agrees(dtype: torch.dtype = dtype) -> checks.Deviation:
                return checks.agreement(device, CASES[:3], (dtype,))

            yield checks.Check(name, "some shapes", agrees)

    monkeypatch.setattr(verification, "_checks", few)
    monkeypatch.setattr(verification, "kernels_of", lambda device: (library.instruction_set(),))


def doctor(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", "doctor", *arguments])
    with pytest.raises(SystemExit) as exited:
        app_module.main()
    return int(exited.value.code or 0)


def test_it_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(monkeypatch, "--verify", "--device", "cpu") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    kernels = library.instruction_set()
    found = [line for line in lines if line.split()[1] == kernels]
    assert [line.split()[0] for line in found] == ["ok"] * 3
    assert " of 1.0e-05" in found[0]
    assert "0 of 0" in found[2]
    assert last.startswith("All 3 checks passed: ")


def test_a_wrong_operator_has_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(input: torch.Tensor, *rest: object) -> torch.Tensor:
        output = REAL(input, *rest)
        return output * (1 + 1e-3) if input.dtype == torch.float32 else output

    monkeypatch.setattr(functional, "active_conv2d", wrong)
    assert doctor(monkeypatch, "--verify", "--device", "cpu") == 1
    *lines, last = capsys.readouterr().out.splitlines()
    verdicts = {line.split()[2]: line.split()[0] for line in lines if line.split()[1] == library.instruction_set()}
    assert verdicts == {"float32": "no", "float64": "ok", "the": "no"}
    assert "some shapes: 3x3 between pixels: " in next(line for line in lines if line.startswith("no "))
    assert last.startswith("2 of 3 checks failed: do not trust")


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(functional, "active_conv2d", lambda *arguments: REAL(*arguments) * float("nan"))
    assert doctor(monkeypatch, "--verify", "--device", "cpu", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["command"] == "doctor"
    assert answer["passed"] is False
    assert {finding["verdict"] for finding in answer["findings"]} == {"no"}
    assert answer["findings"][0]["error"] is None
    assert set(answer["findings"][0]) >= {"kernels", "name", "compared", "error", "allowed", "where", "seconds"}
    assert {verdict["question"] for verdict in answer["verdicts"]} > {"Is there a GPU?"}


def test_without_a_compiled_operator(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(verification, "kernels_of", lambda device: ())
    assert doctor(monkeypatch, "--verify", "--device", "cpu") == 1
    assert "Nothing was verified, for there is no compiled operator" in capsys.readouterr().out


def test_a_device_without_verify_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(monkeypatch, "--device", "cpu") == 2
    assert "give it with --verify" in capsys.readouterr().err


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(monkeypatch, "--verify", "--device", "cuda:77") == 2
    assert capsys.readouterr().err == "error: PyTorch finds no GPU cuda:77: use --device cpu, and see `acu doctor`\n"
