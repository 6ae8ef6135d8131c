from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from acu_core.errors import UserError
from acu_core.runs.checkpoints import (
    FORMAT_VERSION,
    Checkpoint,
    LogLengths,
    list_checkpoints,
    load_checkpoint,
    load_latest_checkpoint,
    save_checkpoint,
)
from acu_core.runs.run_directory import RunDirectory

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", "", {})


OPTIMIZER = {"state": {}, "param_groups": [{"lr": 0.1, "betas": (0.9, None), "params": [0]}]}
LENGTHS = LogLengths(20, 10)


def save(run: RunDirectory, iteration: int, value: float = 0.0, **options: Any) -> Path:
    model = {"weight": torch.full((40, 3), float(value))}
    given = {"model": model, "optimizer": OPTIMIZER, "log_lengths": LENGTHS, **options}
    return save_checkpoint(run, iteration, **given)


def newest(run: RunDirectory) -> Checkpoint:
    found = load_latest_checkpoint(run)
    assert found is not None
    return found


def names(run: RunDirectory) -> list[str]:
    return sorted(p.name for p in run.checkpoints.iterdir())


def test_what_is_saved_is_loaded(run: RunDirectory) -> None:
    assert load_latest_checkpoint(run) is None
    path = save(run, 7, 1.5)
    assert path == run.checkpoints / "00000007.pt"
    found = newest(run)
    assert (found.iteration, found.log_lengths, found.path, found.skipped) == (7, LENGTHS, path, ())
    assert torch.equal(found.model["weight"], torch.full((40, 3), 1.5))
    assert found.optimizer == OPTIMIZER


def test_the_state_of_a_real_optimizer_is_loadable(run: RunDirectory) -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(
        [{"params": [layer.weight], "role": "weights"}, {"params": [layer.bias], "role": "rest"}], lr=0.1, momentum=0.9
    )
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save(run, 1, model=layer.state_dict(), optimizer=optimizer.state_dict())
    optimizer.load_state_dict(newest(run).optimizer)


def test_only_the_newest_are_kept(run: RunDirectory) -> None:
    for iteration in (0, 5, 10, 100_000_000):
        save(run, iteration, iteration)
    assert names(run) == ["00000010.pt", "100000000.pt"]
    save(run, 100_000_001, 1, keep=1)
    assert names(run) == ["100000001.pt"]


def test_some_are_never_deleted_and_not_counted(run: RunDirectory) -> None:
    for iteration in (1, 2, 3, 4, 5):
        save(run, iteration, iteration, never_delete=(1, 4))
    assert names(run) == [f"0000000{iteration}.pt" for iteration in (1, 3, 4, 5)]


def test_one_iteration_is_loaded_and_no_other(run: RunDirectory) -> None:
    with pytest.raises(UserError, match="no checkpoint of iteration 1: it keeps none"):
        load_checkpoint(run, 1)
    older, newer = (save(run, iteration, iteration) for iteration in (1, 2))
    found = load_checkpoint(run, 1)
    assert (found.iteration, found.path) == (1, older)
    assert torch.equal(found.model["weight"], torch.full((40, 3), 1.0))
    older.write_bytes(newer.read_bytes()[:-200])
    with pytest.raises(UserError, match="cannot be used"):
        load_checkpoint(run, 1)


def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(run: RunDirectory) -> None:
    save(run, 1, 1)
    broken = save(run, 2, 2)
    content = broken.read_bytes()
    place = content.index(torch.full((4,), 2.0).numpy().tobytes())
    flipped = content[:place] + b"\x01" + content[place + 1 :]
    for damaged in (b"", b"PK\x03\x04", content[: len(content) // 2], content[:-1], flipped, b"\x80\x02garbage" * 99):
        broken.write_bytes(damaged)
        found = load_latest_checkpoint(run)
        assert found is not None
        assert found.iteration == 1
        assert len(found.skipped) == 1
        assert str(broken) in found.skipped[0]
        assert torch.equal(found.model["weight"], torch.full((40, 3), 1.0))


def test_a_checkpoint_that_would_run_code_is_not_loaded(run: RunDirectory, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    save(run, 1, 1)
    torch.save({"format_version": FORMAT_VERSION, "state": Evil()}, run.checkpoints / "00000002.pt")
    found = load_latest_checkpoint(run)
    assert found is not None
    assert found.iteration == 1
    assert not (tmp_path / "ran").exists()


def test_when_every_checkpoint_is_broken_nothing_starts_from_the_beginning(run: RunDirectory) -> None:
    save(run, 1, 1).write_bytes(b"")
    torch.save({"other": 1}, run.checkpoints / "00000002.pt")
    torch.save({"format_version": FORMAT_VERSION, "iteration": 3, "state": {}}, run.checkpoints / "00000003.pt")
    with pytest.raises(UserError, match=r"none of the checkpoints.*00000003\.pt.*00000002\.pt.*00000001\.pt"):
        load_latest_checkpoint(run)


def test_a_newer_format_is_not_skipped(run: RunDirectory) -> None:
    save(run, 1, 1)
    torch.save({"format_version": FORMAT_VERSION + 1}, run.checkpoints / "00000002.pt")
    with pytest.raises(UserError, match=f"format version {FORMAT_VERSION + 1}"):
        load_latest_checkpoint(run)


def test_a_given_up_future_is_set_aside_and_does_not_push_out_the_good_ones(run: RunDirectory) -> None:
    save(run, 10, 1)
    (run.checkpoints / "00000020.pt").write_bytes(b"broken")
    save(run, 15, 2)
    assert names(run) == ["00000010.pt", "00000015.pt", "00000020.pt.set-aside"]
    found = load_latest_checkpoint(run)
    assert found is not None
    assert (found.iteration, found.skipped) == (15, ())


def test_a_failing_save_leaves_the_old_checkpoint_and_no_rest(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 1, 1)

    def fail(content: object, file: io.BufferedIOBase) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space"):
        save(run, 1, 2)
    assert names(run) == ["00000001.pt"]
    found = load_latest_checkpoint(run)
    assert found is not None
    assert torch.equal(found.model["weight"], torch.full((40, 3), 1.0))


def test_a_save_killed_in_the_middle_leaves_a_rest_that_the_next_one_removes(run: RunDirectory) -> None:
    save(run, 1, 1)
    script = (
        "import sys, os, signal, torch\n"
        "from acu_core.runs.checkpoints import LogLengths, save_checkpoint\n"
        "from acu_core.runs.run_directory import RunDirectory\n"
        "def die(content, file):\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "torch.save = die\n"
        "run = RunDirectory.open(sys.argv[1])\n"
        "save_checkpoint(run, 2, model={}, optimizer={}, log_lengths=LogLengths(1, 1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.path)], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert len(names(run)) == 2
    assert names(run)[0].startswith(".acu-")
    found = load_latest_checkpoint(run)
    assert found is not None
    assert (found.iteration, found.skipped) == (1, ())
    save(run, 3, 3)
    assert names(run) == ["00000001.pt", "00000003.pt"]


@pytest.mark.parametrize("value", [Path("x"), {1.5: 1}, [object()], {"deep": ({"set": {1}},)}])
def test_what_could_not_be_loaded_again_is_refused_before_anything_is_written(run: RunDirectory, value: object) -> None:
    with pytest.raises(TypeError, match="load"):
        save(run, 1, optimizer={"x": value})
    assert names(run) == []


def test_wrong_numbers_are_refused(run: RunDirectory) -> None:
    with pytest.raises(ValueError, match="keep"):
        save(run, 1, keep=0)
    with pytest.raises(ValueError, match="iteration"):
        save(run, -1)


def put(run: RunDirectory, iteration: int, changes: dict[str, Any]) -> Path:
    """A whole file with other content, as no acu writes it."""
    content = {
        "format_version": FORMAT_VERSION,
        "iteration": iteration,
        "state": {"model": {"weight": torch.ones(3)}, "optimizer": OPTIMIZER},
        "log_lengths": {"positions": 20, "metrics": 10},
    }
    path = run.checkpoints / f"{iteration:08d}.pt"
    torch.save({key: value for key, value in {**content, **changes}.items() if value is not ...}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iteration": 3}, "says that it is of iteration 3"),
        ({"iteration": "2"}, "says that it is of iteration 2"),
        ({"iteration": ...}, "says that it is of iteration None"),
        ({"state": {"model": {}}}, "a model and an optimizer"),
        ({"state": 3}, "a model and an optimizer"),
        ({"state": {"model": {"weight": 3.0}, "optimizer": OPTIMIZER}}, "its model is not"),
        ({"state": {"model": {"weight": torch.tensor([1.0, float("nan")])}, "optimizer": OPTIMIZER}}, "weight is not"),
        ({"state": {"model": {}, "optimizer": {"state": 3}}}, "its optimizer is not"),
        ({"state": {"model": {}, "optimizer": {"state": {}}}}, "no param_groups"),
        (
            {"state": {"model": {}, "optimizer": {"state": {0: {"b": torch.tensor(1e400)}}, "param_groups": []}}},
            "optimizer state 0 b is not finite",
        ),
        ({"log_lengths": ...}, "how long the logs were"),
        ({"log_lengths": {"metrics": 10}}, "how long the logs were"),
        ({"log_lengths": {"positions": 0, "metrics": 10}}, "log of positions had 0 bytes"),
        ({"log_lengths": {"positions": 20, "metrics": 0}}, "log of metrics had 0 bytes"),
        ({"log_lengths": {"positions": 20, "metrics": "many"}}, "log of metrics had many bytes"),
    ],
)
def test_a_whole_file_with_wrong_content_is_damaged(run: RunDirectory, changes: dict[str, Any], reason: str) -> None:
    save(run, 1)
    path = put(run, 2, changes)
    with pytest.raises(UserError, match=reason):
        load_checkpoint(run, 2)
    found = newest(run)
    assert found.iteration == 1
    (skipped,) = found.skipped
    assert str(path) in skipped
    assert reason in skipped


def test_a_flipped_byte_anywhere_is_seen_or_changes_nothing(run: RunDirectory) -> None:
    save(run, 1)
    path = save(run, 2, 2, model={"weight": torch.full((4,), 2.0)})
    content = path.read_bytes()
    seen = 0
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x11]) + content[place + 1 :])
        found = newest(run)
        seen += found.iteration == 1
        if found.iteration == 2:
            assert torch.equal(found.model["weight"], torch.full((4,), 2.0))
            assert (found.optimizer, found.log_lengths) == (OPTIMIZER, LENGTHS)
        else:
            assert path.name in found.skipped[0]
    assert seen > 100


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_directory_in_place_of_a_checkpoint_is_named(run: RunDirectory, make: Any) -> None:
    save(run, 1)
    make(run.checkpoints / "00000002.pt")
    with pytest.raises(UserError, match="not a regular file"):
        load_checkpoint(run, 2)
    found = newest(run)
    assert (found.iteration, len(found.skipped)) == (1, 1)
    # Training on takes over.
    for iteration in (2, 3, 4, 5):
        save(run, iteration)
    assert [number for number, _ in list_checkpoints(run)][:2] == [5, 4]


def test_an_imported_checkpoint_may_come_before_all_metrics(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "imported", "", {"imported": {"files": [{"iteration": 9000}]}})
    save(run, 9000, log_lengths=LogLengths(20, 0))
    assert newest(run).iteration == 9000
