from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from acu_cli.app import main
from acu_core.runs.metrics import read_metrics

TINY = (
    *("--set", "compare_frozen=false", "--set", "machine.threads=1", "--set", "machine.device=cpu"),
    *("--set", "data.batch_size=16", "--set", "data.options={train_count=140, test_count=50}"),
    *("--set", "schedule={iterations=12, evaluate_every=4, checkpoint_every=4, keep=[4], keep_best=true}"),
    *("--set", "data.validation_images=40", "--set", "average.decay=0.8"),
)


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


def test_the_checkpoints_their_errors_and_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert acu(monkeypatch, "train", *TINY, "--out", run) == 0
    out = capsys.readouterr().out
    last = read_metrics(run / "metrics.jsonl").evaluations[-1]
    assert f"averaged weights  {100 - 2 * (last.average_test_errors or 0):.2f} %" in out
    assert f"held-out accuracy {100 - 2.5 * (last.validation_errors or 0):.2f} %" in out
    assert "best checkpoint   iteration " in out

    assert acu(monkeypatch, "evaluate", run, "--list", "--json") == 0
    found = json.loads(capsys.readouterr().out)["checkpoints"]
    # What is kept by its number or as the best is not counted among the newest two.
    numbers = [one["iteration"] for one in found]
    assert set(numbers) >= {4, 12}
    assert [one["iteration"] for one in found if one["newest"]] == [12]
    assert found[numbers.index(4)]["kept"]
    (best,) = (one for one in found if one["best"])
    records = read_metrics(run / "metrics.jsonl").evaluations
    least = min(record.average_validation_errors or 0 for record in records)
    assert best["averaged_validation"]["errors"] == least

    assert acu(monkeypatch, "evaluate", run, "--list") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["iteration", "test", "error", "averaged", "held-out", "error", "averaged"]
    assert [int(line.split()[0]) for line in lines] == numbers
    assert "kept" in lines[numbers.index(4)]
    assert "newest" in lines[-1]

    assert acu(monkeypatch, "evaluate", run, "--iteration", "best", "--averaged", "--json") == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert (evaluated["iteration"], evaluated["averaged_weights"]) == (best["iteration"], True)
    assert evaluated["evaluation"]["errors"] == best["averaged"]["errors"]

    assert acu(monkeypatch, "evaluate", run, "--iteration", 7) == 2
    assert f"has no checkpoint of iteration 7: it keeps {', '.join(map(str, numbers))}" in capsys.readouterr().err
    assert acu(monkeypatch, "evaluate", run, "--iteration", "last") == 2
    assert "--iteration is the number of an iteration, or best, not 'last'" in capsys.readouterr().err

    assert acu(monkeypatch, "export", run, "-o", tmp_path / "n.safetensors", "--averaged", "--json") == 0
    exported = json.loads(capsys.readouterr().out)
    assert exported["evaluation"]["errors"] == exported["exported_errors"] == last.average_test_errors

    assert acu(monkeypatch, "show", run) == 0
    out = capsys.readouterr().out
    assert f"the averaged weights: {2 * (last.average_test_errors or 0):.2f} % error" in out
    assert f"the images held out for validation: {2.5 * (last.validation_errors or 0):.2f} % error" in out


def test_a_run_without_any_of_it_lists_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    plain = ("--set", "schedule={iterations=3}", "--set", "schedule.keep=[]", "--set", "data.validation_images=0")
    assert acu(monkeypatch, "train", *TINY[:-4], *plain, "--out", run) == 0
    capsys.readouterr()
    assert acu(monkeypatch, "evaluate", run, "--list") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["iteration", "test", "error"]
    assert [line.split()[0] for line in lines] == ["0", "3"]
    assert acu(monkeypatch, "evaluate", run, "--iteration", "best") == 2
    assert "has no best checkpoint" in capsys.readouterr().err
