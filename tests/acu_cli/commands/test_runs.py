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


def test_every_run_and_how_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "no run").mkdir(parents=True)
    with WrittenRun(tmp_path / "runs" / "a-2") as stopped:
        stopped.go_on(30)
        stopped.evaluate(40)
        stopped.go_on(60)
    with WrittenRun(tmp_path / "runs" / "a-10") as finished:
        finished.go_on(100)
        finished.evaluate(7)
    with WrittenRun(tmp_path / "runs" / "b-1") as damaged:
        damaged.go_on(30)
    content = bytearray(damaged.run.metrics.read_bytes())
    content[-60] ^= 1
    damaged.run.metrics.write_bytes(content)
    (tmp_path / "runs" / "c-1").mkdir()
    (tmp_path / "runs" / "c-1" / "recipe.toml").write_text("name = 3")
    with WrittenRun(tmp_path / "runs" / "d-1") as running:
        running.go_on(10)
        with WrittenRun(tmp_path / "runs" / "e-1"):
            pass
        assert acu(monkeypatch, "runs", "--json") == 0
        listed = json.loads(capsys.readouterr().out)
        assert acu(monkeypatch, "runs") == 0
        written = capsys.readouterr()
    assert (listed["command"], listed["directory"]) == ("runs", "runs")
    found = listed["runs"]
    assert not any("path" in run for run in found), "a run is called run, as everywhere"
    assert [(Path(run["run"]).name, run["condition"], run["iteration"]) for run in found] == [
        ("a-2", "stopped", 60),
        ("a-10", "finished", 100),
        ("b-1", "damaged", 30),
        ("c-1", "damaged", 0),
        ("d-1", "training", 10),
        ("e-1", "waiting", 0),
    ]
    assert [(run["test_error"], run["test_error_iteration"]) for run in found][:2] == [(40.0, 30), (7.0, 100)]
    assert found[0]["bytes"] == sum(file.stat().st_size for file in stopped.run.path.rglob("*") if file.is_file())
    lines = written.out.splitlines()
    assert len(lines) == 7
    assert "60 of 100" in lines[1]
    assert "40.00 % at 30" in lines[1]
    assert written.err.count("warning: ") == 2
    assert "metrics.jsonl is damaged near its end" in written.err


def test_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert acu(monkeypatch, "runs", str(tmp_path)) == 0
    assert "There are no runs in" in capsys.readouterr().out
    assert acu(monkeypatch, "runs", str(tmp_path / "nowhere")) == 2
    assert "there is no directory" in capsys.readouterr().err
