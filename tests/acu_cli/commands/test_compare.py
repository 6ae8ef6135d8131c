from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from compared_runs import write_run

from acu_cli.app import main

SLOW = "optimizer.learning_rate=0.05"


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for seed, (ours, theirs) in enumerate(((100, 80), (120, 90), (110, 90))):
        write_run(folder / f"a-{seed}", seed, ours)
        write_run(folder / f"b-{seed}", seed, theirs, SLOW)
    write_run(folder / "c-1", 7, {})
    return folder


def test_a_directory_of_runs(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert acu(monkeypatch, "compare", runs) == 0
    written = capsys.readouterr()
    assert "-3.77 to -0.90 (paired t, 3 shared seeds)  lower" in written.out
    assert "no winner" not in written.out
    assert f"warning: left out: {runs / 'c-1'}: it is not finished: iteration 3 of 20" in written.err
    assert acu(monkeypatch, "compare", runs, "--base", runs / "b-1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"] == "compare"
    assert [group["group"] for group in found["groups"]] == [
        "planted (optimizer.learning_rate=0.05)",
        "planted (optimizer.learning_rate=0.1)",
    ]
    (difference,) = found["differences"]
    assert difference["test_error"]["interval"] == pytest.approx([0.899116, 3.767551], abs=1e-6)
    assert (difference["test_error"]["winner"], difference["test_error"]["method"]) == ("base", "paired t")
    assert found["left_out"] == [{"run": str(runs / "c-1"), "reason": "it is not finished: iteration 3 of 20"}]
    assert acu(monkeypatch, "compare", runs / "a-0", runs / "b-1", "--markdown") == 0
    assert "| planted (optimizer.learning_rate=0.05) | -1.00 | - | no interval: " in capsys.readouterr().out


def test_twins_with_frozen_positions(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(runs / "a-0" / "frozen", 0, 300, "name=planted-frozen", "optimizer.freeze_positions=true")
    for options, expected in (((), 2), (("--frozen",), 3)):
        assert acu(monkeypatch, "compare", runs, "--json", *options) == 0
        assert len(json.loads(capsys.readouterr().out)["groups"]) == expected


def test_a_picture(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plot = runs.parent / "errors.svg"
    assert acu(monkeypatch, "compare", runs, "--plot", plot, "--json") == 0
    assert json.loads(capsys.readouterr().out)["plot"] == str(plot)
    assert b"<svg" in plot.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "there is no directory nowhere"),
        (("runs", "empty"), "there are no runs in empty"),
        (("runs", "--markdown", "--json"), "cannot be given together"),
        (("runs", "--plot", "a.gif"), "a.gif must end with one of"),
        (("runs", "--base", "other"), "other is not among the runs"),
        (("runs", "--iteration", "9"), "it was not evaluated at iteration 9 (near it: 20)"),
    ],
)
def test_errors_are_one_sentence(
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(runs.parent)
    (runs.parent / "empty").mkdir()
    assert acu(monkeypatch, "compare", *arguments) == 2
    written = capsys.readouterr()
    assert said in written.err
    assert written.err.count("\n") == 1
    assert written.out == "" or said in json.loads(written.out)["error"]["message"]


def test_tables_need_neither_pytorch_nor_matplotlib(runs: Path) -> None:
    program = (
        "import sys; from acu_cli.app import main\n"
        f"sys.argv = ['acu', 'compare', {str(runs)!r}, '--json']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
