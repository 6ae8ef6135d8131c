from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pseudo_terminal import PseudoTerminal
from written_run import WrittenRun

from acu_core.experiments import frozen_twin
from acu_core.recipe.recipe_file import load_recipe
from acu_core.runs.run_directory import RunDirectory

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
    overrides = [word for word in train(plain, 40) if "=" in word]
    frozen_twin.train(load_recipe("planted", overrides), plain)
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


def events(run: Path, *, said: Sequence[str] = (), iterations: int = 1_000_000) -> list[str]:
    """A program that tells what a training tells, and trains nothing."""
    program = f"""
import time
from collections.abc import Sequence
from pathlib import Path
from acu_cli.training_progress import TrainingProgress
with TrainingProgress(watch=True) as events:
    events.note("before the picture")
    events.begin_run(Path({str(run)!r}))
    events.begin({iterations}, 0)
    for text in {list(said)!r}:
        events.warn(text)
    for done in range({iterations}):
        events.advance(done, "training", 0.5, 0.5)
        time.sleep(0.02)
print("the report")
"""
    return [sys.executable, "-c", program]


def test_the_view_ends_with_a_training_that_is_killed(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        # In a shell, without which the terminal would end with the training.
        shell = ["sh", "-c", '"$@"; sleep 1', "sh", *events(written.run.path, said=["mark this"])]
        with PseudoTerminal(shell) as terminal:
            terminal.wait_for(lambda text: "iteration 30 of" in text and "mark this" in text, "the warning")
            (view,) = views(written.run.path)
            training = int(Path(f"/proc/{view}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(training, signal.SIGKILL)
            assert gone(written.run.path)
            terminal.read(0.2)
            assert "warning: mark this" in terminal.text
            assert terminal.written.count(ENTER) == terminal.written.count(LEAVE) == 1
            assert terminal.written.rfind(b"\x1b[?25h") > terminal.written.rfind(b"\x1b[?25l")
            assert terminal.is_as_before


def test_the_training_goes_on_with_its_bar_when_the_view_is_killed(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        with PseudoTerminal(events(written.run.path, said=["mark this"])) as terminal:
            terminal.wait_for(lambda text: "iteration 30 of" in text, "the picture")
            (view,) = views(written.run.path)
            assert not terminal.echoes
            os.kill(view, signal.SIGKILL)
            terminal.wait_for(lambda text: "accuracy" in text and "left" in text, "the bar")
            assert "warning: mark this" in terminal.text
            assert LEAVE in terminal.written
            assert terminal.is_as_before


def test_what_is_said_stays_in_its_order(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        said = ["first", "second"]
        with PseudoTerminal(events(written.run.path, said=said, iterations=50), rows=60) as terminal:
            assert terminal.wait() == 0
            before, _, rest = terminal.written.decode().partition(ENTER.decode())
            after = re.sub(r"\x1b\[[0-9;]*m", "", rest.rpartition(LEAVE.decode())[2])
            assert "before the picture" in before
            places = [after.index(text) for text in ("iteration 30", "first", "second", "the report")]
            assert places == sorted(places)
        assert gone(written.run.path)


def test_errors_are_seen_below_the_picture(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        program = events(written.run.path, iterations=20)
        program[-1] = program[-1].replace("print(", "    raise SystemExit('error: it has diverged')\nprint(")
        with PseudoTerminal(program) as terminal:
            assert terminal.wait() == 1
            last = terminal.written.rpartition(LEAVE)[2].decode()
            assert last.index("loss") < last.index("error: it has diverged")


def test_no_terminal(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        program = events(written.run.path, said=["mark this"], iterations=5)
        ended = subprocess.run(program, capture_output=True, check=True, text=True)
    *lines, last = ended.stderr.splitlines()
    assert lines == [
        "There is no terminal for a live view: plain lines instead.",
        "before the picture",
        "starting 0/5 (0 %)",
        "warning: mark this",
    ]
    assert last.startswith("training 4/5 (80 %)  loss 0.5000")
    assert ended.stdout == "the report\n"
