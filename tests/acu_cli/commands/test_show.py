from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from written_run import WrittenRun

from acu_cli.app import main


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


def test_one_run_in_a_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with WrittenRun(tmp_path / "my-run") as written:
        for iteration, errors in ((20, 60), (40, 20), (60, 30)):
            written.go_on(iteration)
            written.evaluate(errors)
    path = str(written.run.path)
    assert acu(monkeypatch, "show", path) == 0
    text = capsys.readouterr().out
    for expected in (
        "my-run: planted, stopped",
        "iteration 60 of 100",
        "test error 30.00 % at iteration 60; the lowest was 20.00 % at 40",
        "schedule.iterations = 100",
        "compare_frozen = False (built in: True)",
    ):
        assert expected in text
    assert len(text.splitlines()) <= 30
    (line,) = [line for line in text.splitlines() if "stage2.2.conv" in line]
    assert "0.85 px" in line
    assert line.endswith("=" * 20)
    assert acu(monkeypatch, "show", path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["error_curve"] == [[20, 60.0], [40, 20.0], [60, 30.0]]
    assert {"key": "compare_frozen", "run": False, "built_in": True} in found["differs_from_built_in"]


def test_what_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert acu(monkeypatch, "show", str(tmp_path)) == 2
    assert "is not a run" in capsys.readouterr().err
