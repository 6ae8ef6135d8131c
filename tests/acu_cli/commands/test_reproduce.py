from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from acu_cli.app import main
from acu_core.forecast.pace import Pace
from acu_core.reproduce import estimate, reproduction
from acu_core.reproduce.plan import RunState, plan_runs
from acu_core.reproduce.reproduction import Reproduction, Request
from acu_core.reproduce.results import table_result
from acu_core.reproduce.tables import find_table
from acu_core.runs.metrics import EvaluationRecord


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


def pretend(monkeypatch: pytest.MonkeyPatch, *, done: int, stopped_by: str | None) -> list[Request]:
    """Trains nothing: the first `done` runs have 10 errors in 100 images."""
    requests: list[Request] = []

    def reproduce(request: Request, *, events: Any) -> Reproduction:
        requests.append(request)
        table, out = find_table(request.table), request.directory
        runs = plan_runs(table, seeds=request.seeds, scale=request.scale, out=out, device=request.device)
        finished = RunState(True, 1, EvaluationRecord(1, 1.0, 0.9, 10, 100), {})
        states = {run.path: finished if place < done else RunState(False) for place, run in enumerate(runs)}
        result = table_result(
            table, runs, states, {}, scale=request.scale, seeds=request.seeds, made_by=request.made_by
        )
        return Reproduction(result, (out / "x.json", out / "x.md"), stopped_by)

    monkeypatch.setattr(reproduction, "reproduce", reproduce)
    return requests


def test_the_table_and_its_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    requests = pretend(monkeypatch, done=4, stopped_by=None)
    assert acu(monkeypatch, "reproduce", "cifar10", "--data", "x.npz", "--device", "cpu") == 0
    command = "acu reproduce cifar10 --seeds 1 --data x.npz --device cpu"
    assert requests == [Request("cifar10", 1, 1.0, Path("x.npz"), None, "cpu", False, command)]
    written = capsys.readouterr().out
    assert written.count("10.00") == 4
    assert "8.01" in written
    assert "Written to reproductions/cifar10/x.md and reproductions/cifar10/x.json." in written
    assert "trial" not in written


def test_the_command_in_a_table_asks_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = pretend(monkeypatch, done=0, stopped_by=None)
    arguments = ("reproduce", "ablation", "--seeds", "3", "--scale", "0.0117265625", "--data", "my data.npz")
    assert acu(monkeypatch, *arguments, "--download") == 1
    assert acu(monkeypatch, *shlex.split(requests[0].made_by)[1:]) == 1
    assert requests[1] == requests[0]
    assert requests[0].made_by == f"acu {shlex.join(arguments)} --download"


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, done=4, stopped_by=None)
    assert acu(monkeypatch, "reproduce", "cifar10", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert [row["mean"] for row in values["rows"]] == [10.0] * 4


def test_stopped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, done=2, stopped_by="SIGINT")
    assert acu(monkeypatch, "reproduce", "cifar100", "--seeds", "2", "--scale", "0.5", "--out", "here") == 130
    written = capsys.readouterr().out
    assert "Unfinished: 2 of 8 runs are done." in written
    assert "Go on with: acu reproduce cifar100 --seeds 2 --scale 0.5 --out here\n" in written
    # Several at once go on as several, and are the same table.
    requests = pretend(monkeypatch, done=2, stopped_by="SIGINT")
    assert acu(monkeypatch, "reproduce", "cifar100", "--out", "here", "--jobs", "3") == 130
    assert "Go on with: acu reproduce cifar100 --seeds 1 --out here --jobs 3\n" in capsys.readouterr().out
    assert (requests[0].jobs, requests[0].made_by) == (3, "acu reproduce cifar100 --seeds 1 --out here")


def test_a_failed_run_is_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, done=3, stopped_by=None)
    assert acu(monkeypatch, "reproduce", "cifar10") == 1
    assert "Unfinished: 3 of 4 runs are done." in capsys.readouterr().out


def test_a_dry_run_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "measure_quickly", lambda recipe, work: Pace(0.5, 0.5, 10.0, 0.0))
    arguments = ("reproduce", "ablation", "--scale", "0.01", "--seeds", "2", "--dry-run")
    assert acu(monkeypatch, *arguments) == 0
    written = capsys.readouterr().out
    assert "14 of 14 runs to train, about 1 h 11 min on this machine, one run at a time" in written
    assert written.count("5 min 40 s (measured)") == 12
    assert written.count("1 min 50 s (measured)") == 2
    assert acu(monkeypatch, *arguments, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["seconds"] == 12 * (640 * 0.5 + 20) + 2 * (200 * 0.5 + 10)
    assert {run["estimated_from"] for run in values["runs"]} == {"measured"}
    assert list(tmp_path.iterdir()) == []


def test_recipes_are_listed_with_what_the_paper_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert acu(monkeypatch, "recipes") == 0
    lines = capsys.readouterr().out.splitlines()
    (acu_line,) = [line for line in lines if line.startswith("cifar10-plain-acu ")]
    assert "855,258" in acu_line
    assert "7.33 % error" in acu_line
    assert any("+0.32 points over cifar10-plain-base" in line for line in lines)
    assert any("85.73 % top-5 accuracy" in line for line in lines)
    assert acu(monkeypatch, "recipes", "--json") == 0
    values = {recipe["recipe"]: recipe for recipe in json.loads(capsys.readouterr().out)["recipes"]}
    assert values["cifar10-plain-acu"]["parameters"] == 855_258
    assert values["cifar10-plain-acu"]["paper"] == {
        "measure": "test error %",
        "result": 7.33,
        "base": "cifar10-plain-base",
        "improvement": 0.68,
    }
    assert values["planted"]["paper"] is None
