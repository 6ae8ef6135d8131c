from __future__ import annotations

import json
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from acu_cli.app import main
from acu_core.reproduce import sweep as sweep_module
from acu_core.reproduce.sweep import Sweep, look
from acu_core.reproduce.sweep_settings import SweepRequest

TINY = (
    *("--set", "machine.threads=1", "--set", "machine.device=cpu", "--set", "data.batch_size=16"),
    *("--set", "data.options={train_count=200, test_count=50}", "--set", "schedule.iterations=6"),
    *("--set", "schedule.warm_up=2", "--set", "schedule.divisions=[]"),
)
RATES = ("--over", "optimizer.learning_rate=0.1,0.05")


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


def test_a_sweep_ends_with_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("sweep", "planted", *RATES, *TINY, "--seeds", "2")
    assert acu(monkeypatch, *command, "--dry-run") == 0
    assert "4 of 4 runs to train" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert acu(monkeypatch, *command) == 0
    written = capsys.readouterr().out
    assert "planted (optimizer.learning_rate=0.05)  2  0-1" in written
    assert "4 of 4 runs are done, in sweeps/planted." in written
    assert acu(monkeypatch, *command, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["command"], found["runs_finished"], found["finished"]) == ("sweep", 4, True)
    ours, theirs = ([run["test_error"] for run in group["runs"]] for group in found["comparison"]["groups"])
    differences = [second - first for first, second in zip(ours, theirs, strict=True)]
    mean, spread = statistics.fmean(differences), statistics.stdev(differences)
    assert f"planted (optimizer.learning_rate=0.05)  {mean:+.2f}  " in written
    # The quantile of one degree of freedom. So short a training may well end alike with both seeds.
    half = 12.7062 * spread / 2**0.5
    interval = f"{mean - half:+.2f} to {mean + half:+.2f} (paired t, 2 shared seeds)"
    assert (interval if spread > 1e-9 else "no interval: the difference is the same for every seed") in written
    # Asked for again, the command is the same sweep: everything is done.
    assert acu(monkeypatch, *shlex.split(found["made_by"])[1:], "--dry-run", "--json") == 0
    assert {run["finished"] for run in json.loads(capsys.readouterr().out)["runs"]} == {True}
    assert acu(monkeypatch, "compare", "sweeps/planted", "--json") == 0
    compared = json.loads(capsys.readouterr().out)
    assert {group["group"]: group["test_error"] for group in compared["groups"]} == {
        group["group"]: group["test_error"] for group in found["comparison"]["groups"]
    }
    assert found["comparison"]["groups"][0]["group"] == "planted (optimizer.learning_rate=0.1)"


def test_stopped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    requests: list[SweepRequest] = []

    def stopped(request: SweepRequest, *, events: Any) -> Sweep:
        requests.append(request)
        return Sweep(*map_runs(request), {}, "SIGINT")

    def map_runs(request: SweepRequest) -> tuple[Any, Any]:
        runs, states = look(request)
        return tuple(runs), states

    monkeypatch.setattr(sweep_module, "sweep", stopped)
    arguments = (
        "sweep",
        "planted",
        *RATES,
        "--over",
        "network.unit=acu,convolution",
        "--list",
        "--set",
        "schedule.warm_up=3",
    )
    assert acu(monkeypatch, *arguments, "--out", str(tmp_path / "my sweep")) == 130
    written = capsys.readouterr().out
    assert "0 of 2 runs are done" in written
    again = shlex.split(written.partition("Go on with: ")[2])
    assert acu(monkeypatch, *again[1:]) == 130
    assert requests[0] == requests[1]
    assert requests[0].in_step
    capsys.readouterr()
    assert acu(monkeypatch, *arguments, "--json", "--out", str(tmp_path)) == 130
    assert json.loads(capsys.readouterr().out)["comparison"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("planted", "--over", "optimizer.learning_rate"), "names no values"),
        (("planted", "--over", "optimizer.rate=1,2"), "optimizer.rate"),
        (("plantd", *RATES), "did you mean planted?"),
        (("planted", *RATES, "--set", "compare_frozen=true"), "sweep optimizer.freeze_positions=false,true instead"),
    ],
)
def test_errors_are_one_sentence_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, "sweep", *arguments) == 2
    written = capsys.readouterr()
    assert said in written.err
    assert written.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
