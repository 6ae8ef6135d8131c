from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from acu_core.errors import UserError
from acu_core.runs import RunDirectory, load_checkpoint, load_latest_checkpoint, save_checkpoint
from acu_core.runs.checkpoints import FORMAT_VERSION

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", "", {})


def state(value: float) -> dict[str, object]:
    return {"model": {"weight": torch.full((40, 3), float(value))}, "optimizer": {"lr": 0.1, "betas": (0.9, None)}}


def names(run: RunDirectory) -> list[str]:
    return sorted(p.name for p in run.checkpoints.iterdir())


def test_what_is_saved_is_loaded(run: RunDirectory) -> None:
    assert load_latest_checkpoint(run) is None
    path = save_checkpoint(run, 7, state(1.5), {"metrics": 10, "positions": 20})
    assert path == run.checkpoints / "00000007.pt"
    found = load_latest_checkpoint(run)
    assert found is not None
    assert (found.iteration, found.log_lengths, found.path, found.skipped) == (
        7,
        {"metrics": 10, "positions": 20},
        path,
        (),
    )
    assert torch.equal(found.state["model"]["weight"], torch.full((40, 3), 1.5))
    assert found.state["optimizer"] == {"lr": 0.1, "betas": (0.9, None)}


def test_the_state_of_a_real_optimizer_is_loadable(run: RunDirectory) -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(
        [{"params": [layer.weight], "role": "weights"}, {"params": [layer.bias], "role": "rest"}], lr=0.1, momentum=0.9
    )
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_checkpoint(run, 1, {"model": layer.state_dict(), "optimizer": optimizer.state_dict()}, {})
    found = load_latest_checkpoint(run)
    assert found is not None
    optimizer.load_state_dict(found.state["optimizer"])


def test_only_the_newest_are_kept(run: RunDirectory) -> None:
    for iteration in (0, 5, 10, 100_000_000):
        save_checkpoint(run, iteration, state(iteration), {})
    assert names(run) == ["00000010.pt", "100000000.pt"]
    save_checkpoint(run, 100_000_001, state(1), {}, keep=1)
    assert names(run) == ["100000001.pt"]


def test_some_are_never_deleted_and_not_counted(run: RunDirectory) -> None:
    for iteration in (1, 2, 3, 4, 5):
        save_checkpoint(run, iteration, state(iteration), {}, never_delete=(1, 4))
    assert names(run) == [f"0000000{iteration}.pt" for iteration in (1, 3, 4, 5)]


def test_one_iteration_is_loaded_and_no_other(run: RunDirectory) -> None:
    with pytest.raises(UserError, match="no checkpoint of iteration 1: it keeps none"):
        load_checkpoint(run, 1)
    older, newer = (save_checkpoint(run, iteration, state(iteration), {}) for iteration in (1, 2))
    found = load_checkpoint(run, 1)
    assert (found.iteration, found.path) == (1, older)
    assert torch.equal(found.state["model"]["weight"], torch.full((40, 3), 1.0))
    older.write_bytes(newer.read_bytes()[:-200])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_checkpoint(run, 1)


def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(run: RunDirectory) -> None:
    save_checkpoint(run, 1, state(1), {"metrics": 1})
    newest = save_checkpoint(run, 2, state(2), {"metrics": 2})
    content = newest.read_bytes()
    place = content.index(torch.full((4,), 2.0).numpy().tobytes())
    flipped = content[:place] + b"\x01" + content[place + 1 :]
    for damaged in (b"", b"PK\x03\x04", content[: len(content) // 2], content[:-1], flipped, b"\x80\x02garbage" * 99):
        newest.write_bytes(damaged)
        found = load_latest_checkpoint(run)
        assert found is not None
        assert found.iteration == 1
        assert found.skipped == (newest,)
        assert torch.equal(found.state["model"]["weight"], torch.full((40, 3), 1.0))


def test_a_checkpoint_that_would_run_code_is_not_loaded(run: RunDirectory, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    save_checkpoint(run, 1, state(1), {})
    torch.save({"format_version": FORMAT_VERSION, "state": Evil()}, run.checkpoints / "00000002.pt")
    found = load_latest_checkpoint(run)
    assert found is not None
    assert found.iteration == 1
    assert not (tmp_path / "ran").exists()


def test_when_every_checkpoint_is_broken_nothing_starts_from_the_beginning(run: RunDirectory) -> None:
    save_checkpoint(run, 1, state(1), {}).write_bytes(b"")
    torch.save({"other": 1}, run.checkpoints / "00000002.pt")
    torch.save({"format_version": FORMAT_VERSION, "iteration": 3, "state": {}}, run.checkpoints / "00000003.pt")
    with pytest.raises(UserError, match=r"none of the checkpoints.*00000003\.pt.*00000002\.pt.*00000001\.pt"):
        load_latest_checkpoint(run)


def test_a_newer_format_is_not_skipped(run: RunDirectory) -> None:
    save_checkpoint(run, 1, state(1), {})
    torch.save({"format_version": FORMAT_VERSION + 1}, run.checkpoints / "00000002.pt")
    with pytest.raises(UserError, match="format version 2"):
        load_latest_checkpoint(run)


def test_a_given_up_future_is_set_aside_and_does_not_push_out_the_good_ones(run: RunDirectory) -> None:
    save_checkpoint(run, 10, state(1), {})
    (run.checkpoints / "00000020.pt").write_bytes(b"broken")
    save_checkpoint(run, 15, state(2), {})
    assert names(run) == ["00000010.pt", "00000015.pt", "00000020.pt.set-aside"]
    found = load_latest_checkpoint(run)
    assert found is not None
    assert (found.iteration, found.skipped) == (15, ())


def test_a_failing_save_leaves_the_old_checkpoint_and_no_rest(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(run, 1, state(1), {})

    def fail(content: object, file: io.BufferedIOBase) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(run, 1, state(2), {})
    assert names(run) == ["00000001.pt"]
    found = load_latest_checkpoint(run)
    assert found is not None
    assert torch.equal(found.state["model"]["weight"], torch.full((40, 3), 1.0))


def test_a_save_killed_in_the_middle_leaves_a_rest_that_the_next_one_removes(run: RunDirectory) -> None:
    save_checkpoint(run, 1, state(1), {})
    script = (
        "import sys, os, signal, torch\n"
        "from acu_core.runs import RunDirectory, save_checkpoint\n"
        "def die(content, file):\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "torch.save = die\n"
        "save_checkpoint(RunDirectory.open(sys.argv[1]), 2, {}, {})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.path)], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert len(names(run)) == 2
    assert names(run)[0].startswith(".00000002.pt.")
    found = load_latest_checkpoint(run)
    assert found is not None
    assert (found.iteration, found.skipped) == (1, ())
    save_checkpoint(run, 3, state(3), {})
    assert names(run) == ["00000001.pt", "00000003.pt"]


@pytest.mark.parametrize("value", [Path("x"), {1.5: 1}, [object()], {"deep": ({"set": {1}},)}])
def test_what_could_not_be_loaded_again_is_refused_before_anything_is_written(run: RunDirectory, value: object) -> None:
    with pytest.raises(TypeError, match="load"):
        save_checkpoint(run, 1, {"x": value}, {})
    assert names(run) == []


def test_wrong_numbers_are_refused(run: RunDirectory) -> None:
    with pytest.raises(ValueError, match="keep"):
        save_checkpoint(run, 1, {}, {}, keep=0)
    with pytest.raises(ValueError, match="iteration"):
        save_checkpoint(run, -1, {}, {})
