from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pseudo_terminal import PseudoTerminal

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
        "schedule.warm_up=2",
        "schedule.divisions=[3]",
    )
    for argument in ("--set", value)
]
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def train(run: Path, iterations: int) -> list[str]:
    schedule = ["--set", f"schedule.iterations={iterations}"]
    return [sys.executable, "-m", "acu_cli", "train", *TINY, *schedule, "--watch", "--out", str(run)]


def views(run: Path) -> list[int]:
    """The processes that show a run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(run) in words and any(b"beside_training" in word for word in words):
                found.append(int(entry.name))
    return found


def gone(run: Path) -> bool:
    deadline = time.monotonic() + 30
    while views(run):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_training_is_watched_to_its_end_and_its_result_is_the_same(tmp_path: Path) -> None:
    watched, plain = tmp_path / "watched", tmp_path / "plain"
    with PseudoTerminal(train(watched, 40), rows=50, columns=100) as terminal:
        assert terminal.wait(200) == 0
        assert ENTER in terminal.written
        last = terminal.written.rpartition(LEAVE)[2].decode()
        # The notes before, then the last picture, then the report.
        assert "Starting PyTorch" in terminal.written.partition(ENTER)[0].decode()
        assert last.index("finished") < last.index("test accuracy")
        assert "Traceback" not in last
    assert gone(watched)
    words = [word for word in train(plain, 40) if word != "--watch"]
    subprocess.run(words, check=True, capture_output=True)
    for name in ("positions.bin", "metrics.jsonl", "frozen/metrics.jsonl"):
        assert (watched / name).read_bytes() == (plain / name).read_bytes()


def test_ctrl_c_saves_and_the_terminal_is_as_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with PseudoTerminal(train(run, 1_000_000)) as terminal:
        terminal.wait_for(lambda text: "learning shapes" in text and "it/s" in text, "the training", 200)
        assert views(run)
        terminal.type(b"\x03")
        assert terminal.wait(200) == 128 + signal.SIGINT
        last = terminal.written.rpartition(LEAVE)[2].decode()
        assert last.index("stopped") < last.index("Stopped by SIGINT")
        assert "acu train --resume" in last
        assert b"Traceback" not in terminal.written
        assert terminal.written.count(ENTER) == terminal.written.count(LEAVE) == 1
        assert terminal.written.rfind(b"\x1b[?25h") > terminal.written.rfind(b"\x1b[?25l")
    assert gone(run)
    assert not RunDirectory.open(run).is_locked


def test_the_view_ends_with_a_training_that_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with PseudoTerminal(train(run, 1_000_000)) as terminal:
        terminal.wait_for(lambda text: "learning shapes" in text, "the training", 200)
        terminal.process.send_signal(signal.SIGKILL)
        terminal.process.wait()
        assert gone(run)
        terminal.read(0.2)
        assert terminal.written.count(ENTER) == terminal.written.count(LEAVE) == 1
        assert terminal.written.rfind(b"\x1b[?25h") > terminal.written.rfind(b"\x1b[?25l")


def test_the_training_goes_on_with_its_bar_when_the_view_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with PseudoTerminal(train(run, 1_000_000)) as terminal:
        terminal.wait_for(lambda text: "learning shapes" in text, "the training", 200)
        (view,) = views(run)
        os.kill(view, signal.SIGKILL)
        terminal.wait_for(lambda text: "accuracy" in text and "left" in text, "the bar")
        assert LEAVE in terminal.written
        reached = len(SnapshotFile(run / "positions.bin"))
        terminal.type(b"\x03")
        assert terminal.wait(200) == 128 + signal.SIGINT
    assert len(SnapshotFile(run / "positions.bin")) > reached


def test_errors_are_seen_below_the_picture(tmp_path: Path) -> None:
    arguments = [*train(tmp_path / "run", 200), "--set", "optimizer.learning_rate=1e30"]
    with PseudoTerminal(arguments) as terminal:
        assert terminal.wait(200) == 2
        last = terminal.written.rpartition(LEAVE)[2].decode()
        assert "error: " in last
        assert "last good checkpoint" in last.replace("\r\n", "")
        assert "Traceback" not in last


@pytest.mark.parametrize("warm_up", [2, 100])
def test_no_terminal(tmp_path: Path, warm_up: int) -> None:
    arguments = [*train(tmp_path / "run", 6), "--set", f"schedule.warm_up={warm_up}"]
    ended = subprocess.run(arguments, capture_output=True, check=True, text=True)
    assert "no terminal for a live view: plain lines instead" in ended.stderr
    assert "\x1b" not in ended.stdout + ended.stderr
    assert ("the positions never move" in ended.stderr) == (warm_up == 100)


def test_warnings_are_seen_when_the_view_has_ended(tmp_path: Path) -> None:
    arguments = [*train(tmp_path / "run", 30), "--resume", str(tmp_path / "run")]
    arguments = [word for word in train(tmp_path / "run", 30) if word != "--watch"]
    subprocess.run(arguments, check=True, capture_output=True)
    # A damaged twin's newest checkpoint: told once the training has begun.
    newest = max((tmp_path / "run" / "frozen" / "checkpoints").glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:-100])
    resume = [sys.executable, "-m", "acu_cli", "train", "--resume", str(tmp_path / "run"), "--watch"]
    with PseudoTerminal([*resume, "--set", "schedule.iterations=40"], columns=150) as terminal:
        assert terminal.wait(200) in (0, 2)
        assert "cannot be used" in terminal.written.replace(b"\r\n", b" ").decode()
