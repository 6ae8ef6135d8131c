from __future__ import annotations

import io
import json
import re

import pytest

from acu_cli import terminal
from acu_cli.shape_sketch import sketch


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    with terminal.progress(100, "training", done=20) as shown:
        for done in range(21, 101):
            clock[0] += 0.5
            shown.update(done, loss="0.5000", test_accuracy="90 %")
    written = capsys.readouterr()
    assert written.out == ""
    lines = written.err.splitlines()
    assert lines[0] == "training 20/100 (20 %)"
    assert lines[1] == "training 23/100 (23 %)  loss 0.5000  test accuracy 90 %  2.0 it/s  38 s left"
    # 40 seconds of work: at once, after 1.5 seconds, then every 5, and the end.
    assert [int(line.split("/")[0].split()[1]) for line in lines] == [20, 23, 33, 43, 53, 63, 73, 83, 93, 100]
    assert lines[-1].startswith("training 100/100 (100 %)")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", written.err)


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Tty()
    monkeypatch.setattr(terminal.sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    with terminal.progress(10, "training") as shown:
        shown.update(5, loss="0.5000", accuracy="90 %")
        shown.update(10, loss="0.2500", accuracy="91 %")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "training" in text
    assert "10/10" in text
    assert "loss 0.2500" in text
    assert "accuracy 91 %" in text
    assert "it/s" in text


def test_several_parts_in_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    with terminal.progress(30, "all runs") as shown:
        shown.part("Base, seed 0", 5, 10, loss="0.5000")
        shown.part("ACU, seed 0", 3, 20)
        clock[0] = 4.0
        shown.update(8)
        shown.end_part("Base, seed 0")
        clock[0] = 10.0
        shown.update(20)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "all runs 8/30 (26 %)  2.0 it/s  11 s left  Base, seed 0 5/10; ACU, seed 0 3/20"
    assert lines[2].endswith("left  ACU, seed 0 3/20")


def test_several_parts_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Tty()
    monkeypatch.setattr(terminal.sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    with terminal.progress(30, "all runs") as shown:
        shown.part("Base, seed 0", 5, 10, loss="0.5000")
        shown.part("ACU, seed 0", 3, 20)
        shown.end_part("Base, seed 0")
        shown.update(8)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).rstrip().splitlines()[-2:]
    assert re.search(r"^all runs .* 8/30", last[0])
    assert re.search(r"^  ACU, seed 0 .* 3/20", last[1])


def test_json_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.json({"a": 0.1})
    assert json.loads(capsys.readouterr().out) == {"a": 0.1}
    with pytest.raises(ValueError, match="JSON"):
        terminal.json({"a": float("nan")})


def test_tables_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(["name", "n"], [["long name", 1], ["x", 22]], title="Title")
    assert capsys.readouterr().out.splitlines() == ["Title", "name       n", "long name  1", "x          22"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert terminal.duration(seconds) == text


def test_sketch() -> None:
    lines = sketch([[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [-1.0, -1.0]])
    assert lines[:5] == ["o", "", "    *", "", "        +"]
    assert len({line.find("o") for line in lines[:1]}) == 1


@pytest.mark.parametrize("columns", [30, 78, 200])
@pytest.mark.parametrize("far", [5.0, 9.0, 40.0, 1000.0, 1e300])
def test_a_sketch_is_bounded(columns: int, far: float) -> None:
    learned = [[0.0, 0.0], [far, 0.5], [-far, 0.5], [0.5, far], [0.5, -far], [1.0, 1.0]]
    lines = sketch(learned, [[0.0, 0.0], [1.0, -1.0]], columns=columns)
    assert max(map(len, lines)) <= min(columns, 78)
    assert len(lines) <= 29 + 3
    drawn = "\n".join(lines)
    picture = drawn.partition("o hidden")[0]
    seen = {mark: picture.count(mark) for mark in "<>^v*o+"}
    legend = " ".join(drawn.partition("o hidden")[2].split())
    if far >= 40:
        assert seen == {"<": 1, ">": 1, "^": 1, "v": 1, "*": 1, "o": 1, "+": 1}
        assert legend.endswith("beyond the edge: 4")
    beyond = sum(seen[mark] for mark in "<>^v")
    assert beyond + seen["+"] + seen["*"] == 6
    assert (f"beyond the edge: {beyond}" in legend) == (beyond > 0)
