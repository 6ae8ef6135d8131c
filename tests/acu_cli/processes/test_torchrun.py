"""One training by torchrun: on two nodes, and started again by it when a process is killed."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from launched_training import ACU, SMALL, TORCHRUN, Launched, free_port, settings

from acu_core.runs.timings import read_timings

Content = Callable[[Path], dict[str, object]]
WORDS = ["train", "planted", *SMALL, *settings(["schedule.iterations=300"])]
MODULE = ["-m", "acu_cli"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By `acu train --processes 2`, with a name of its own choice, and nothing shown but what one process shows."""
    directory = tmp_path_factory.mktemp("whole")
    run = directory / "runs" / "planted-1"
    with Launched(*ACU, *WORDS, "--processes", "2", "--json", directory=directory, run=run) as launched:
        assert launched.end() == 0, launched.errors
    report = json.loads(launched.out)
    assert (report["run"], report["iteration"], report["finished"]) == ("runs/planted-1", 300, True)
    for line in launched.errors.splitlines():
        assert re.match(r"Starting PyTorch|Loading the data set|(starting|training) \d+/300 ", line), line
    assert [path.name for path in run.parent.iterdir()] == ["planted-1"]
    return run


def test_two_nodes_train_one_run_with_the_bits_of_two_processes(tmp_path: Path, whole: Path, content: Content) -> None:
    run = tmp_path / "run"
    port = free_port()

    def node(number: int) -> Launched:
        where = ["--nnodes", 2, "--node-rank", number, "--master-addr", "127.0.0.1", "--master-port", port]
        words = [*TORCHRUN, *where, "--nproc-per-node", 1, *MODULE, *WORDS, "--out", run]
        return Launched(*words, directory=tmp_path, run=run)

    with node(0) as first, node(1) as second:
        assert first.end() == 0, first.errors
        assert second.end() == 0, second.errors
    assert "Trained planted to iteration 300" in first.out
    assert second.out == ""
    assert content(run) == content(whole)


def test_a_process_that_is_killed_is_started_again_and_goes_on(tmp_path: Path, whole: Path, content: Content) -> None:
    """By the very same command, though the run has the next free number as its name."""
    run = tmp_path / "runs" / "planted-1"
    words = [*TORCHRUN, "--standalone", "--nproc-per-node", 2, "--max-restarts", 1, *MODULE, *WORDS]
    with Launched(*words, directory=tmp_path, run=run) as launched:
        launched.wait_until_it_trains(saved=7)
        os.kill(launched.ranks()[1], signal.SIGKILL)
        assert launched.end() == 0, launched.errors
    assert [path.name for path in run.parent.iterdir()] == ["planted-1"]
    # From a checkpoint, and not from the beginning.
    assert read_timings(run / "timings.jsonl")[-1].session >= 7
    assert content(run) == content(whole)


def test_what_goes_wrong_is_said_once(tmp_path: Path) -> None:
    """What torchrun says besides is torchrun's."""
    run = tmp_path / "run"
    words = [*TORCHRUN, "--standalone", "--nproc-per-node", 2, *MODULE, *WORDS, "--out", run]
    for change, sentence in (
        (["--set", "optimizer.learning_rate=1e30"], "the last good checkpoint is of iteration "),
        (["--processes", 3], "torchrun has started 2 processes already: leave out --processes"),
    ):
        with Launched(*words, *change, directory=tmp_path, run=run) as launched:
            assert launched.end() != 0
        (said,) = launched.sentences()
        assert sentence in said
        # In its own report, too.
        assert launched.errors.count(said.removeprefix("error: ")) >= 2
