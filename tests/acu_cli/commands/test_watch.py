from __future__ import annotations

import codecs
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyte
import pytest
from pseudo_terminal import PseudoTerminal
from written_run import WrittenRun

from acu_cli.app import main
from acu_cli.watch.live_screen import LEAVE

WATCH = [sys.executable, "-m", "acu_cli", "watch"]


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


def test_a_run_is_watched_from_its_first_iteration_to_its_last(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "my-run") as written, PseudoTerminal([*WATCH, str(written.run.path)]) as terminal:
        terminal.wait_for(lambda text: "Waiting for the first iteration" in text, "the waiting")
        written.go_on(5)
        # A picture comes in pieces, its last lines last.
        expected = ("my-run", "training", "iteration 5 of 100", "warm-up", "no test error yet")
        terminal.wait_for(lambda text: all(words in text for words in expected), "iteration 5")
        before = terminal.text
        written.go_on(60)
        written.evaluate(25)
        terminal.wait_for(lambda text: "iteration 60 of" in text, "iteration 60")
        # Played, not jumped over.
        assert any(5 < number < 60 for number in iterations(terminal.written))
        expected = ("test error 25.00 % at 60", "learning shapes")
        terminal.wait_for(lambda text: all(words in text for words in expected), "the test error")
        # The grid stays, the synapses have moved.
        shapes = [text.splitlines()[5:20] for text in (before, terminal.text)]
        assert shapes[0] != shapes[1]
        assert any("\u2800" < character <= "\u28ff" for line in shapes[1] for character in line)
        written.go_on(100)
        written.evaluate(10)
        written.__exit__()
        assert terminal.wait() == 0
        assert "finished" in terminal.text
        assert "iteration 100 of 100" in terminal.text
        assert "test error 10.00 %" in terminal.text
        assert_sane(terminal)


def iterations(written: bytes) -> set[int]:
    """All iterations that were to be read on the screen at some time."""
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    found: set[int] = set()
    for begin in range(0, len(written), 16):
        stream.feed(written[begin : begin + 16])
        found |= {int(number) for number in re.findall(r"iteration (\d+) of", screen.display[1])}
    return found


def assert_sane(terminal: PseudoTerminal) -> None:
    """The ordinary screen, with its cursor."""
    written = terminal.written
    for begin, end in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?7l", b"\x1b[?7h")):
        assert written.count(begin) == written.count(end)
        assert written.rfind(end) >= written.rfind(begin)
    assert terminal.is_as_before


def test_a_run_that_is_cut_back_begins_again(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(20)
        written.go_on(50)
        with PseudoTerminal([*WATCH, str(written.run.path)]) as terminal:
            terminal.wait_for(lambda text: "iteration 50 of" in text, "iteration 50")
            written.cut(20)
            terminal.wait_for(lambda text: "iteration 20 of" in text, "the cut")
            written.go_on(70)
            terminal.wait_for(lambda text: "iteration 70 of" in text, "iteration 70")
            assert "warning" not in terminal.text


def test_ctrl_c_ends_the_view_quietly(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        with PseudoTerminal([*WATCH, str(written.run.path)]) as terminal:
            terminal.wait_for(lambda text: "iteration 30 of" in text, "iteration 30")
            assert "Ctrl-C ends the view" in terminal.text
            # Whoever does not know that tries some keys.
            terminal.type(b"seen\n")
            terminal.read(0.3)
            assert b"seen" not in terminal.written
            terminal.type(b"\x03")
            assert terminal.wait() == 0
            assert "Ctrl-C" not in terminal.text
            assert b"Traceback" not in terminal.written
            assert "iteration 30 of" in terminal.text
            assert_sane(terminal)


def test_a_stopped_run_says_how_it_goes_on_and_another_size_is_filled(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
    with PseudoTerminal([*WATCH, str(written.run.path)]) as terminal:
        terminal.wait_for(lambda text: "stopped" in text and "acu train --resume" in text, "stopped")
        terminal.resize(40, 120)
        terminal.wait_for(lambda text: text.splitlines()[2].count("\u2501\u2501") and "stage2" in text, "it, larger")
        assert len(terminal.text.splitlines()[2]) == 120
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait() == 128 + signal.SIGTERM
        assert_sane(terminal)


@pytest.mark.parametrize(
    ("environment", "colours", "braille"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"NO_COLOR": "1"}, False, True),
        ({"TERM": "linux"}, True, False),
        ({"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, True, False),
    ],
    ids=["usual", "NO_COLOR", "console", "ASCII"],
)
def test_what_a_terminal_can_show(tmp_path: Path, environment: dict[str, str], colours: bool, braille: bool) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        with PseudoTerminal([*WATCH, str(written.run.path)], environment=environment) as terminal:
            terminal.wait_for(lambda text: "iteration 30 of" in text, "iteration 30")
            terminal.type(b"\x03")
            terminal.wait()
    # Ctrl-C may fall between two parts of one write: what was drawn may end with a part of a character.
    drawn, left, rest = terminal.written.rpartition(LEAVE.encode())
    assert left
    text = codecs.getincrementaldecoder("utf-8")().decode(drawn) + rest.decode()
    codes = {code for found in re.findall(r"\x1b\[([0-9;]+)m", text) for code in found.split(";")}
    assert bool(codes & {"38", "31", "35", "36"}) == colours
    assert any("\u2800" < character <= "\u28ff" for character in text) == braille
    if not braille:
        assert terminal.written.isascii()


def test_a_terminal_that_knows_only_lines_gets_some(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        with PseudoTerminal([*WATCH, str(written.run.path)], environment={"TERM": "dumb"}) as terminal:
            assert terminal.wait() == 0
    assert b"\x1b" not in terminal.written
    assert "iteration 30 of 100" in terminal.text


def test_no_terminal(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        written.evaluate(50)
        shown = subprocess.run([*WATCH, str(written.run.path)], capture_output=True, check=True)
    text = shown.stdout.decode()
    assert "\x1b" not in text
    assert "iteration 30 of 100" in text
    assert "test error 50.00 %" in text
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80
    assert shown.stderr == b""


def test_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with WrittenRun(tmp_path / "runs" / "older") as older:
        older.go_on(3)
    time.sleep(0.02)
    with WrittenRun(tmp_path / "runs" / "newer") as newer:
        newer.go_on(30)
        newer.evaluate(50)
        # Without a run it is the newest one.
        assert acu(monkeypatch, "watch", "--json", "--layers", "stem,stage2.*") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["condition"] == "training"
    assert found["run"] == str(Path("runs") / "newer")
    assert (found["iteration"], found["iterations"], found["warm_up"]) == (30, 100, 10)
    assert (found["test_error"], found["test_error_iteration"]) == (50.0, 30)
    assert list(found["moved_pixels"]) == ["stem", "stage2.0.conv", "stage2.1.conv", "stage2.2.conv"]
    assert found["moved_pixels"]["stem"] == 0
    assert found["moved_pixels"]["stage2.2.conv"] == pytest.approx(0.002 * 6 * 20 * 2**0.5, rel=1e-5)
    assert acu(monkeypatch, "watch", "runs/newer", "--json") == 0
    assert json.loads(capsys.readouterr().out)["condition"] == "stopped"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nowhere",), "there is no run at nowhere"),
        ((".",), "is not a run, it has no recipe.toml"),
        (
            ("run/positions.bin",),
            "run/positions.bin is a file and not the directory of a run: "
            "`acu animate-shapes run/positions.bin` draws it\n",
        ),
        (("run/recipe.toml",), "run/recipe.toml is a file and not the directory of a run\n"),
        ((), "there is no run in runs"),
        (("run", "--layers", "conv9"), "no layer is called 'conv9'"),
    ],
)
def test_what_cannot_be_watched(
    arguments: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(1)
    assert acu(monkeypatch, "watch", *arguments) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_snapshots_without_a_log_as_an_imported_run_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
    written.run.metrics.unlink()
    assert acu(monkeypatch, "watch", str(written.run.path), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["condition"], found["iteration"], found["loss"]) == ("stopped", 30, None)


def test_damage_is_told_and_the_rest_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
    content = bytearray(written.run.metrics.read_bytes())
    content[-200] ^= 1
    written.run.metrics.write_bytes(content)
    assert acu(monkeypatch, "watch", str(written.run.path)) == 0
    text = capsys.readouterr().out
    assert "iteration 30 of 100" in text
    assert "warning: line " in text


def test_it_needs_nothing_heavy(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(3)
    check = "heavy = {{'torch', 'matplotlib', 'PIL', 'scipy'{}}} & set(sys.modules)\nassert not heavy, heavy"
    # Typer takes Pydantic to read arguments, where it is there.
    command = (
        f"import sys; sys.argv = ['acu', 'watch', {str(written.run.path)!r}]\nfrom acu_cli.app import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n" + check.format("")
    )
    beside = "import sys, acu_cli.watch.beside_training\n" + check.format(", 'pydantic', 'typer'")
    for program in (command, beside):
        subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_ctrl_z_gives_the_terminal_back_and_going_on_takes_it_again(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        with PseudoTerminal([*WATCH, str(written.run.path)]) as terminal:
            terminal.wait_for(lambda text: "iteration 30 of" in text, "iteration 30")
            terminal.process.send_signal(signal.SIGTSTP)
            stopped = os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED)
            assert stopped is not None
            assert stopped.si_code == os.CLD_STOPPED
            terminal.read(0.2)
            assert_sane(terminal)
            written.go_on(50)
            terminal.process.send_signal(signal.SIGCONT)
            terminal.wait_for(lambda text: "iteration 50 of" in text, "iteration 50")
            assert not terminal.echoes
