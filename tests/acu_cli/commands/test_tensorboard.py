from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from compared_runs import damage, write_run
from written_run import WrittenRun

from acu_cli.app import main
from acu_core.report import event_file
from acu_core.report.event_file import NAME

pytest.importorskip("tensorboard", reason="tensorboard is not installed")


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


def test_runs_and_their_twins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("one", "two"):
        write_run(tmp_path / folder / "a-1", 0, 100)
    write_run(tmp_path / "one" / "a-1" / "frozen", 0, 300)
    out = tmp_path / "events"
    assert acu(monkeypatch, "tensorboard", tmp_path / "one", "-o", out) == 0
    written = capsys.readouterr().out
    assert f"a-1: 21 events up to iteration 20, in {out / 'a-1' / NAME}" in written
    assert f"Look at it with: tensorboard --logdir {out}" in written
    assert {path.relative_to(out) for path in out.rglob(NAME)} == {Path("a-1", NAME), Path("a-1", "frozen", NAME)}
    assert acu(monkeypatch, "tensorboard", tmp_path / "one", tmp_path / "two" / "a-1", "-o", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"] == "tensorboard"
    names = [run["name"] for run in found["runs"]]
    assert names == ["one/a-1", "one/a-1/frozen", "two/a-1"]
    assert all(Path(run["path"]).is_file() for run in found["runs"])


def test_following_ends_with_the_run(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    command = [sys.executable, "-m", "acu_cli", "tensorboard", str(run), "-o", str(out), "--follow", "--json"]
    with WrittenRun(run, iterations=40) as written:
        written.go_on(10)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + 60
            while not (out / "run" / NAME).exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            written.go_on(40)
            written.evaluate(7)
        except BaseException:
            process.kill()
            raise
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    (report,) = json.loads(said)["runs"]
    assert (report["iteration"], report["events"]) == (40, 40 + 1 + 41)


def test_ctrl_c_ends_following(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(10)
    command = [sys.executable, "-m", "acu_cli", "tensorboard", "run", "-o", "out", "--follow"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "Following; Ctrl-C ends it" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, complaint) == (0, "")
    assert "run: 21 events up to iteration 10" in said


@pytest.mark.parametrize("name", ["metrics.jsonl", "positions.bin", "recipe.toml"])
def test_following_a_damaged_run_says_so_and_ends(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    with WrittenRun(run) as written:
        written.go_on(40)
    if name == "recipe.toml":
        (run / name).write_text("name = 3")
    else:
        damage(run / name, 30)
    command = [sys.executable, "-m", "acu_cli", "tensorboard", "run", "-o", "out", "--follow"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.count("warning: ") == 1
    assert name in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "-o", "out"), "there is no directory nowhere"),
        ((".", "-o", "out"), "there are no runs in ."),
        (("run", "-o", "file"), "cannot be written"),
    ],
)
def test_errors_are_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "run":
        write_run(tmp_path / "run", 0, 100)
    (tmp_path / "file").write_text("")
    assert acu(monkeypatch, "tensorboard", *arguments) == 2
    written = capsys.readouterr()
    assert said in written.err
    assert written.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(event_file, "find_spec", lambda name: None)
    assert acu(monkeypatch, "tensorboard", tmp_path, "-o", tmp_path / "out") == 2
    assert "pip install 'active-convolution[tensorboard]'" in capsys.readouterr().err
