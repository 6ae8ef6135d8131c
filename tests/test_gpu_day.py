"""The script of the first minutes on a GPU: what it would run is what there is, and how it goes on where it was."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_check import CommandError, check

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tests" / "gpu_day.sh"
# In place of Python: notes what it is called with, and ends as it is told to.
STAND_IN = """#!/bin/bash
[ "$1" = -V ] && { echo 'Python 3.0'; exit; }
printf '%s\\n' "$*" >> "$CALLS"
case "$*" in
  *doctor\\ --verify*) echo 'no cuda float32, contiguous'; exit 1 ;;
  *train\\ cifar10-plain-base*) [ -e "$CALLS.finished" ] || { echo 'iteration 7'; exec sleep 60; }; echo finished ;;
  *) echo "fine: $*" ;;
esac
"""


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    program, calls = tmp_path / "python", tmp_path / "calls"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    calls.touch()
    return {"PYTHON": str(program), "CALLS": str(calls)}


def test_every_command_exists_and_takes_its_options() -> None:
    done = run("--dry", PYTHON=sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    names = run("--list").stdout.split()
    assert len(names) > 12
    told = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ok")]
    assert told == names
    # The order of DESIGN: is it there, is it right, how fast is it, what does it train.
    order = ["doctor", "tiny", "verify", "tests", "memcheck", "initcheck", "op-float32", "step-64", "cifar10-plain-acu"]
    assert [name for name in names if name in order] == order


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["python", "-m", "acu_cli", "bench", "op", "--nonsense"], "[Nn]o such option: --nonsense"),
        (["env", "A=1", "python", "-m", "acu_cli", "dance"], "no command dance"),
        (["python", "-m", "acu_cli", "train", "planted", "--set", "machine.graph=true"], r"machine\.graph"),
        (["python", "-m", "acu_cli", "train", "no-such-recipe"], "no-such-recipe"),
        (["compute-sanitizer", "--tol", "memcheck", "python"], "--tol is not known"),
        (["no-such-program"], "there is no program no-such-program"),
        (["bash", "-c", "python -c 'import'"], "invalid syntax"),
    ],
)
def test_a_command_that_would_fail_is_found(words: list[str], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    with pytest.raises((CommandError, SyntaxError), match=reason):
        check(words)


def test_what_is_done_is_not_done_again_and_what_failed_is(tmp_path: Path, stand_in: dict[str, str]) -> None:
    out, calls = tmp_path / "out", Path(stand_in["CALLS"])
    first = run("--out", str(out), "doctor", "tiny", "verify", **stand_in)
    assert first.returncode == 1
    assert [line.split(":")[1].split(",")[0].strip() for line in first.stdout.splitlines() if ", " in line] == [
        "done",
        "done",
        "failed with status 1",
    ]
    page = (out / "page.md").read_text()
    for words in ("# A day on a GPU", "## doctor: what there is", "fine: -m acu_cli doctor", "no cuda float32"):
        assert words in page
    assert {path.name for path in (out / "done").iterdir()} == {"doctor", "tiny"}
    # By name it is done again.
    calls.write_text("")
    assert run("--out", str(out), "tiny", **stand_in).returncode == 0
    assert calls.read_text().count("pytest") == 1
    assert (out / "page.md").read_text().startswith(page)


def test_all_of_it_goes_on_where_it_was(tmp_path: Path, stand_in: dict[str, str]) -> None:
    out, calls = tmp_path / "out", Path(stand_in["CALLS"])
    for name in run("--list").stdout.split():
        (out / "done").mkdir(parents=True, exist_ok=True)
        if name not in ("verify", "cifar10-plain-acu"):
            (out / "done" / name).touch()
    assert run("--out", str(out), **stand_in).returncode == 1
    assert [line.split()[2] for line in calls.read_text().splitlines()] == ["doctor", "train"]


def test_a_training_is_cut_to_what_is_left_and_goes_on(tmp_path: Path, stand_in: dict[str, str]) -> None:
    out, name = tmp_path / "out", "cifar10-plain-base"
    little = run("--out", str(out), "--seconds", "20", name, **stand_in)
    assert (little.returncode, "left for later" in little.stdout) == (3, True)
    assert Path(stand_in["CALLS"]).read_text() == ""
    # A hundred seconds are cut to some seventy; the stand-in's sleep is cut by the test itself.
    script = SCRIPT.read_text().replace("timeout --kill-after=20 --signal=TERM", "timeout --signal=TERM 5 timeout")
    quick = tmp_path / "repository" / "tests" / "gpu_day.sh"
    quick.parent.mkdir(parents=True)
    quick.write_text(script)
    command = ["bash", str(quick), "--out", str(out), "--seconds", "100", name]
    first = subprocess.run(command, env={**os.environ, **stand_in}, capture_output=True, text=True, check=False)
    assert first.returncode == 3, first.stderr
    assert re.search(r"\(at most [67]\d s\)", first.stdout)
    assert f"{name}: goes on the next time" in first.stdout
    assert "iteration 7" in (out / "page.md").read_text()
    Path(stand_in["CALLS"] + ".finished").touch()
    second = subprocess.run(command, env={**os.environ, **stand_in}, capture_output=True, text=True, check=False)
    assert second.returncode == 0
    assert (out / "done" / name).exists()
    words = Path(stand_in["CALLS"]).read_text().splitlines()
    assert words[0] == words[1]
    assert "--continue" in words[0].split()


def test_a_gate_ends_it(tmp_path: Path, stand_in: dict[str, str]) -> None:
    stand_in["PYTHON"] = "false"
    done = run("--out", str(tmp_path / "out"), "doctor", "verify", **stand_in)
    assert done.returncode == 1
    assert "what comes after doctor would mean nothing" in done.stderr
    assert "## verify" not in (tmp_path / "out" / "page.md").read_text()


@pytest.mark.parametrize("words", [["--nonsense"], ["no-such-piece"], ["--out"]])
def test_words_that_mean_nothing(tmp_path: Path, words: list[str]) -> None:
    done = run(*(words if words == ["--out"] else ["--out", str(tmp_path / "out"), *words]))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
