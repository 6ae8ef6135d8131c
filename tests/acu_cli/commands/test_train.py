from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acu_cli.app import main
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

TINY = [
    argument
    for value in (
        "compare_frozen=true",
        "machine.threads=1",
        "machine.device=cpu",
        "data.batch_size=16",
        "data.options={train_count=200, test_count=50}",
        "schedule.iterations=6",
        "schedule.warm_up=2",
        "schedule.divisions=[3]",
        "round_and_finetune={iterations=3, learning_rate=0.01, divisions=[2]}",
    )
    for argument in ("--set", value)
]


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


def test_from_training_to_rounding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, "train", *TINY) == 0
    written = capsys.readouterr()
    for expected in ("test accuracy", "median distance", "synapses within 0.5 px", "frozen positions", "o hidden"):
        assert expected in written.out
    assert "runs/planted-1" in written.out
    assert written.out.splitlines()[-1] == "Next: acu animate-shapes runs/planted-1"

    assert acu(monkeypatch, "evaluate", "runs/planted-1", "--json") == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert (evaluated["images"], evaluated["iteration"], evaluated["operator"]) == (50, 6, "compiled")

    options = ("--iteration", "0", "--reference", "--json")
    assert acu(monkeypatch, "evaluate", "runs/planted-1", *options) == 0
    untrained = json.loads(capsys.readouterr().out)
    assert (untrained["images"], untrained["iteration"], untrained["operator"]) == (50, 0, "reference")

    assert acu(monkeypatch, "train", "--resume", "runs/planted-1", "--set", "schedule.iterations=8", "--json") == 0
    extended = json.loads(capsys.readouterr().out)
    assert (extended["iteration"], extended["finished"]) == (8, True)

    assert acu(monkeypatch, "evaluate", "runs/planted-1") == 0
    assert f"{extended['evaluation']['errors']:,} errors in 50 test images" in capsys.readouterr().out

    assert acu(monkeypatch, "round-and-finetune", "runs/planted-1") == 0
    rounded = capsys.readouterr().out
    for expected in ("before rounding", "after rounding", "after fine-tuning", "shared cell", "runs/planted-rounded-1"):
        assert expected in rounded

    assert acu(monkeypatch, "round-and-finetune", "runs/planted-1", "--iterations", "1", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["rounding"]["before"]["errors"] == extended["evaluation"]["errors"]
    assert figures["run"] == "runs/planted-rounded-2"


def test_a_diverged_run_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, "train", *TINY, "--set", "optimizer.learning_rate=1e30", "--seed", "3") == 2
    written = capsys.readouterr()
    assert "last good checkpoint" in written.err
    assert "Traceback" not in written.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_save_and_say_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    arguments = ["train", *TINY, "--set", "schedule.iterations=1000000", "--out", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "acu_cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    positions = run / "positions.bin"
    deadline = time.monotonic() + 200
    try:
        while time.monotonic() < deadline and process.poll() is None:
            if positions.exists() and positions.stat().st_size > 5000:
                break
            time.sleep(0.02)
        os.kill(process.pid, number)
        out, errors = process.communicate(timeout=100)
    finally:
        # A million iterations would outlast the tests.
        process.kill()
    assert process.returncode == 128 + number, errors
    assert f"Stopped by {number.name}" in out
    assert f"acu train --resume {run}" in out
    assert "Traceback" not in errors
    checkpoint = load_latest_checkpoint(RunDirectory.open(run))
    assert checkpoint is not None
    assert checkpoint.iteration > 1
    assert len(SnapshotFile(positions)) == checkpoint.iteration + 1


def test_one_command_begins_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("train", *TINY, "--continue", "--out", "run")
    assert acu(monkeypatch, *command) == 0
    assert "Trained planted to iteration 6" in capsys.readouterr().out
    assert acu(monkeypatch, *command) == 0
    again = capsys.readouterr().out
    assert "planted was trained to iteration 6 before: the run is finished, nothing was changed." in again
    assert "frozen positions" in again
    assert acu(monkeypatch, *command, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["run"], figures["iteration"], figures["already_finished"]) == ("run", 6, True)
    assert acu(monkeypatch, *command, "--set", "schedule.iterations=9") == 2
    refused = capsys.readouterr().err
    assert "schedule.iterations is 6 there, not 9" in refused
    assert "acu train --resume run --set schedule.iterations=N" in refused
    assert "PyTorch" not in refused, "it is refused first"
    assert acu(monkeypatch, "train", *TINY, "--continue") == 2
    assert "--continue needs --out" in capsys.readouterr().err
    assert acu(monkeypatch, "train", "--resume", "run", "--continue") == 2
    assert "--continue cannot be given with --resume" in capsys.readouterr().err
