from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from acu_core.errors import Action, Remedy, UserError
from acu_core.runs.run_directory import RunDirectory

ROOT = Path(__file__).parents[3]
HOLD = """
import os, sys, time
from acu_core.runs.run_directory import RunDirectory
fork = len(sys.argv) > 2
with RunDirectory.open(sys.argv[1]).lock():
    if fork and os.fork() == 0:
        os.write(1, f"child {os.getpid()}\\n".encode())
        time.sleep(60)
        os._exit(0)
    os.write(1, b"held\\n")
    time.sleep(60)
"""


def make(path: Path) -> RunDirectory:
    return RunDirectory.create(path, 'network = "plain"\n', {"threads": 2, "device": "cpu"})


def test_a_run_is_made_and_opened(tmp_path: Path) -> None:
    made = make(tmp_path / "runs" / "one")
    run = RunDirectory.open(made.path)
    assert run.recipe_toml == 'network = "plain"\n'
    assert run.environment == {"threads": 2, "device": "cpu"}
    assert run.checkpoints.is_dir()
    assert run.figures.is_dir()
    assert (run.metrics.name, run.timings.name, run.positions.name) == (
        "metrics.jsonl",
        "timings.jsonl",
        "positions.bin",
    )
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["one"]


def test_an_empty_directory_becomes_a_run_and_a_relative_path_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert make(Path("empty")).path == Path("empty")
    assert RunDirectory.open("empty").environment["threads"] == 2


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    with pytest.raises(UserError, match="holds a run already") as raised:
        make(run.path)
    assert raised.value.remedies[0] == Remedy(Action.RESUME, str(run.path))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("important")
    with pytest.raises(UserError, match="not an empty directory"):
        make(tmp_path / "full")
    (tmp_path / "file").write_text("important")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError):
            make(path)
    assert (tmp_path / "file").read_text() == "important"
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="JSON"):
        RunDirectory.create(tmp_path / "nan", "", {"x": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        RunDirectory.create(tmp_path / "surrogate", "\udcff", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full", "run"]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run"):
        RunDirectory.open(tmp_path / "none")
    with pytest.raises(UserError, match=r"recipe\.toml"):
        RunDirectory.open(tmp_path)
    run = make(tmp_path / "run")
    for content in (
        *("[1]", "{", "\x00", '{"data": 3}', '{"versions": null}', '{"threads": 0}', '{"threads": "two"}'),
        *(
            '{"device": 1}',
            '{"compile": 0}',
            '{"cuda_graph": 1}',
            '{"data": {"fingerprint": []}}',
            '{"imported": {"files": [{}]}}',
        ),
    ):
        (run.path / "environment.json").write_text(content)
        with pytest.raises(UserError, match=r"environment\.json"):
            _ = run.environment
    (run.path / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"recipe\.toml"):
        _ = run.recipe_toml


def test_recipe_and_environment_can_be_replaced(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    run.replace_recipe("iterations = 9\n")
    run.replace_environment({"threads": 1})
    assert (run.recipe_toml, run.environment) == ("iterations = 9\n", {"threads": 1})
    assert not list(run.path.glob("*.tmp")) + list(run.path.glob(".*.tmp"))


def test_the_lock_excludes_others_and_is_free_again_afterwards(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    with run.lock():
        with pytest.raises(UserError, match=f"another process \\(number {os.getpid()}\\)"), run.lock():
            pass
        # The attempt that failed must not have released the lock.
        with pytest.raises(UserError), run.lock():
            pass
    with run.lock():
        pass
    with pytest.raises(KeyError), run.lock():
        raise KeyError
    with run.lock():
        pass


def test_the_working_directory_becomes_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = make(Path("."))
    # What is written through the process's own directory is in the run.
    (run.checkpoints / "00000000.pt").write_bytes(b"x")
    assert (tmp_path / "here" / "checkpoints" / "00000000.pt").read_bytes() == b"x"
    assert sorted(os.listdir(".")) == ["checkpoints", "environment.json", "figures", "recipe.toml"]
    with pytest.raises(UserError, match="holds a run already"):
        make(Path("."))


def test_more_is_written_before_a_run_appears(tmp_path: Path) -> None:
    def fill(run: RunDirectory) -> None:
        assert not (tmp_path / "run").exists()
        run.metrics.write_text("")

    run = RunDirectory.create(tmp_path / "run", "", {}, fill)
    assert run.metrics.exists()

    def full(run: RunDirectory) -> None:
        raise OSError(28, "No space left on device")

    for path in (tmp_path / "other", tmp_path / "empty"):
        if path.name == "empty":
            path.mkdir()
        with pytest.raises(UserError, match="cannot be made: No space left on device"):
            RunDirectory.create(path, "", {}, full)
    assert sorted(os.listdir(tmp_path)) == ["empty", "run"]
    assert os.listdir(tmp_path / "empty") == []


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300, "loop", "loop/below"])
def test_a_path_that_cannot_be_is_one_sentence(tmp_path: Path, name: str) -> None:
    os.symlink("loop", tmp_path / "loop")
    with pytest.raises(UserError):
        make(tmp_path / name)
    assert os.listdir(tmp_path) == ["loop"]


@pytest.mark.parametrize("fork", [False, True], ids=["alone", "with a forked worker that lives on"])
def test_the_lock_of_another_process_ends_with_kill_9(tmp_path: Path, fork: bool) -> None:
    run = make(tmp_path / "run")
    command = [sys.executable, "-c", HOLD, str(run.path), *(["fork"] if fork else [])]
    child = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        try:
            for _ in range(2 if fork else 1):
                words = process.stdout.readline().split()
                if words[0] == "child":
                    child = int(words[1])
            with pytest.raises(UserError, match=f"number {process.pid}"), run.lock():
                pass
            process.send_signal(signal.SIGKILL)
            process.wait()
            deadline = time.monotonic() + 60
            while True:
                try:
                    with run.lock():
                        break
                except UserError:
                    assert time.monotonic() < deadline, "the lock outlived its process"
                    time.sleep(0.02)
            if fork:
                os.kill(child, 0)
        finally:
            process.kill()
            if child:
                os.kill(child, signal.SIGKILL)


def test_readers_exclude_writers_and_not_each_other(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    exclusive, shared = run.lock, run.lock_to_read
    with shared(), pytest.raises(UserError, match="is being written by another process"), exclusive():
        pass
    with exclusive(), pytest.raises(UserError, match=f"another process \\(number {os.getpid()}\\)"), shared():
        pass


@pytest.mark.parametrize("reason", [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("there", [False, True], ids=["no lock file", "a lock file"])
def test_what_is_read_only_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int, there: bool
) -> None:
    run = make(tmp_path / "run")
    if there:
        with run.lock():
            pass
    before = sorted(run.path.iterdir())
    usual = os.open

    def read_only(path: str, flags: int, *rest: int, **more: int) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(reason, os.strerror(reason), str(path))
        return usual(path, flags, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        with run.lock_to_read():
            pass
        with pytest.raises(UserError, match=os.strerror(reason)), run.lock():
            pass
    assert sorted(run.path.iterdir()) == before
    if there:
        # Who may write locks it; who may only read sees that.
        with run.lock(), monkeypatch.context() as patch:
            patch.setattr(os, "open", read_only)
            with pytest.raises(UserError, match=f"number {os.getpid()}"), run.lock_to_read():
                pass


def test_one_can_ask_whether_a_run_is_being_written(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    assert not run.is_locked
    with run.lock():
        assert run.is_locked
        # Asking must not let go of it.
        assert run.is_locked
        with pytest.raises(UserError), run.lock():
            pass
    assert not run.is_locked
    with run.lock_to_read():
        assert not run.is_locked
    # As a process that was killed leaves it.
    (run.path / ".lock").write_text("12345\n")
    assert not run.is_locked


def test_whoever_asks_is_in_nobodys_way(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    (run.path / ".lock").write_text("12345\n")
    asking = threading.Event()

    def ask() -> None:
        while not asking.is_set():
            _ = run.is_locked
            time.sleep(0.001)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(300):
            with run.lock():
                pass
            (run.path / ".lock").write_text("12345\n")
    finally:
        asking.set()
        thread.join()
