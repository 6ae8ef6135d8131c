"""`acu` as a process of its own, with streams and names that are not as they should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acu_cli.shell_words import quoted
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.run_directory import RunDirectory

TINY = [
    argument
    for value in (
        "compare_frozen=false",
        "machine.threads=1",
        "machine.device=cpu",
        "data.batch_size=16",
        "data.options.train_count=100",
        "data.options.test_count=50",
        "schedule.iterations=4",
        "schedule.warm_up=1",
        "schedule.divisions=[3]",
    )
    for argument in ("--set", value)
]
ODD = os.fsdecode(b"odd\xff")
"""A name that is no UTF-8 text."""


def acu(*arguments: str | Path, redirection: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs the command line through a shell that redirects its streams as `redirection` says."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "acu_cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=200,
    )


def broken_pipe() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_status(redirection: str, tmp_path: Path) -> None:
    copy = tmp_path / "mine.toml"
    assert acu("recipes", "copy", "planted", copy, redirection=redirection).returncode == 0
    assert copy.is_file()
    refused = acu("recipes", "copy", "planted", copy, redirection=redirection)
    assert refused.returncode == 2
    assert refused.stdout == b""
    assert b"Traceback" not in refused.stderr
    assert (b"exists already" in refused.stderr) == ("2>&-" not in redirection)


def test_a_reader_that_has_ended_is_no_error() -> None:
    writing = broken_pipe()
    try:
        command = [sys.executable, "-m", "acu_cli", "recipes", "list"]
        result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=200)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (0, "Starting PyTorch ...\n")


def test_a_full_disk_under_the_result_is_an_error() -> None:
    result = acu("--version", redirection="> /dev/full")
    assert (result.returncode, result.stderr) == (1, b"error: No space left on device: standard output\n")
    assert acu("--version", redirection="2> /dev/full").returncode == 0


@pytest.mark.parametrize("streams", ["closed", "broken"])
def test_a_training_that_nobody_watches_goes_on_and_is_saved(streams: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    if streams == "closed":
        status = acu("train", *TINY, "--out", run, redirection=">&- 2>&-").returncode
    else:
        writing = broken_pipe()
        try:
            command = [sys.executable, "-m", "acu_cli", "train", *TINY, "--out", str(run)]
            status = subprocess.run(command, stdout=writing, stderr=writing, timeout=200).returncode
        finally:
            os.close(writing)
    assert status == 0
    checkpoint = load_latest_checkpoint(RunDirectory.open(run))
    assert checkpoint is not None
    assert checkpoint.iteration == 4
    # The run's files got no number of a closed stream, into which anything might have been written.
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_ascii_is_enough(environment: dict[str, str], tmp_path: Path) -> None:
    result = acu("recipes", "copy", "planted", tmp_path / "für mich.toml", **environment)
    assert result.returncode == 0
    assert result.stdout.isascii()
    assert b"f\\xfcr" in result.stdout or b"f\\xc3\\xbcr" in result.stdout
    refused = acu("recipes", "check", "für mich.toml", **environment)
    assert refused.returncode == 2
    assert b"Traceback" not in refused.stderr


def test_a_run_whose_name_is_no_text(tmp_path: Path) -> None:
    run = tmp_path / ODD
    trained = acu("train", *TINY, "--out", run)
    assert trained.returncode == 0, trained.stderr
    # What can be typed again.
    typed = trained.stdout.decode().splitlines()[-1].removeprefix("Next: acu animate-shapes ")
    assert typed == quoted(run)
    echoed = subprocess.run(["bash", "-c", f"printf %s {typed}"], capture_output=True, check=True).stdout
    assert echoed == os.fsencode(run)
    evaluated = acu("evaluate", run)
    assert evaluated.returncode == 0, evaluated.stderr
    assert b"odd\\xff, iteration 4: " in evaluated.stdout
    for arguments in (
        ("round-and-finetune", run, "--iterations", "1", "--out", tmp_path / "rounded"),
        ("train", *TINY, "--data", run, "--out", tmp_path / "other"),
    ):
        refused = acu(*arguments)
        assert refused.returncode == 2
        assert refused.stderr.decode().splitlines()[-1].startswith("error: ")
        assert b"odd\\xff is no UTF-8 text, so the run's files cannot name it" in refused.stderr
        assert not os.path.lexists(arguments[-1])


def test_quoted() -> None:
    assert quoted("runs/planted-1") == "runs/planted-1"
    assert quoted("my run") == "'my run'"
    assert quoted("für") == "'für'"
    assert quoted(os.fsdecode(b"a'\\\xff\n")) == "$'a\\x27\\x5c\\xff\\x0a'"
