from __future__ import annotations

import contextlib
import errno
import gc
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_networks import PROGRAM, move, network, recorded, run
from torch import nn

from acu_core import ActiveConv2d, ShapeRecorder, normalize_positions, parameter_groups, read_shapes
from acu_core.errors import UserError
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.train import shape_recorder
from acu_core.train.shape_collector import BLOCK


def test_a_training_loop_is_recorded_bit_by_bit(path: Path) -> None:
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.SGD(parameter_groups(model, lr=0.1, position_lr=0.01), momentum=0.9)
    normalize_positions(optimizer)
    expected = []
    with ShapeRecorder(model, path, warm_up=7) as shapes:
        for iteration in range(20):
            expected.append([model[number].positions.detach().clone().numpy() for number in (0, 2)])
            shapes.record(iteration)
            model(torch.randn(2, 2, 6, 6)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    read = read_shapes(path)
    assert read.iterations.tolist() == list(range(20))
    assert read.warm_up == 7
    assert read.hidden is None
    for place, name in enumerate(("0", "2")):
        assert np.array_equal(read.layers[name].positions, np.stack([step[place] for step in expected]))
        assert (np.diff(read.layers[name].positions, axis=0) != 0).any()
        assert (read.layers[name].weight_norms > 0).all()


def test_recording_changes_nothing_of_the_training(path: Path) -> None:
    def train(record: Callable[[int], object]) -> list[torch.Tensor]:
        torch.manual_seed(1)
        model = network()
        shapes = ShapeRecorder(model, path) if record is not print else None
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for iteration in range(5):
            model(torch.randn(2, 2, 6, 6)).square().mean().backward()
            optimizer.step()
            if shapes is not None:
                shapes.record(iteration)
        if shapes is not None:
            shapes.close()
        return [*model.parameters(), torch.rand(3)]

    for ours, theirs in zip(train(len), train(print), strict=True):  # type: ignore[arg-type]
        assert torch.equal(ours, theirs)


@pytest.mark.usefixtures("seldom")
def test_what_is_pending_is_written_in_blocks_by_flush_and_by_close(path: Path) -> None:
    shapes = ShapeRecorder(network(), path)
    for iteration in range(BLOCK - 1):
        shapes.record(iteration)
    assert recorded(path) == []
    shapes.record(BLOCK)
    assert len(recorded(path)) == BLOCK
    shapes.record(BLOCK + 1)
    assert len(recorded(path)) == BLOCK
    shapes.flush()
    assert recorded(path)[-1] == BLOCK + 1
    shapes.record(BLOCK + 9)
    shapes.close()
    assert recorded(path)[-1] == BLOCK + 9
    shapes.close()


def test_a_slow_training_is_written_at_every_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_recorder, "BLOCK_SECONDS", 0.0)
    shapes = ShapeRecorder(network(), path)
    for iteration in range(3):
        shapes.record(iteration)
        assert recorded(path) == list(range(iteration + 1))
    shapes.close()


def test_only_multiples_are_kept_when_so_asked(path: Path) -> None:
    with ShapeRecorder(network(), path, every=3) as shapes:
        for iteration in range(1, 11):
            shapes.record(iteration)
        assert shapes.last_iteration == 10
    assert recorded(path) == [3, 6, 9]


@pytest.mark.usefixtures("seldom")
def test_an_exception_writes_what_was_collected(path: Path) -> None:
    def interrupted() -> None:
        with ShapeRecorder(network(), path) as shapes:
            shapes.record(1)
            shapes.record(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert recorded(path) == [1, 2]


@pytest.mark.usefixtures("seldom")
def descriptors_of(path: Path) -> list[str]:
    """This process's descriptors of a file: a number of all of them changes with what earlier tests have forgotten."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        # The one that lists them is gone by now.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samefile(f"/proc/self/fd/{name}", path):
                found.append(name)
    return found


def test_a_forgotten_recorder_writes_and_closes(path: Path) -> None:
    shapes = ShapeRecorder(network(), path)
    shapes.record(1)
    assert descriptors_of(path)
    del shapes
    gc.collect()
    assert recorded(path) == [1]
    assert not descriptors_of(path)


def test_a_killed_process_loses_what_was_pending_and_nothing_else(path: Path) -> None:
    done = run(PROGRAM + "os.kill(os.getpid(), signal.SIGKILL)\n", path)
    assert done.returncode == -9
    last = len(recorded(path))
    assert 600 - last <= BLOCK
    assert recorded(path) == list(range(1, last + 1))
    shapes = ShapeRecorder(nn.Sequential(ActiveConv2d(1, 2, 3)), path, resume_after=last)
    shapes.record(last + 1)
    shapes.close()
    assert recorded(path) == list(range(1, last + 2))


def test_the_rest_is_written_when_python_exits_and_once_whoever_forked(path: Path) -> None:
    fork = """
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)
    """
    done = run(PROGRAM + textwrap.dedent(fork), path)
    assert (done.returncode, done.stderr) == (0, "")
    assert recorded(path) == list(range(1, 601))
    assert not len(SnapshotFile(path).damaged)


@pytest.mark.usefixtures("seldom")
def test_what_a_full_disk_refuses_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = ShapeRecorder(network(), path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for iteration in range(BLOCK - 1):
        shapes.record(iteration)
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"No space left on device: .*shapes.bin"):
            shapes.record(BLOCK - 1)
        with pytest.raises(UserError, match="iterations must ascend"):
            shapes.record(BLOCK - 1)
        with pytest.raises(OSError, match="No space left"):
            shapes.flush()
        with pytest.raises(OSError, match="No space left"):
            ShapeRecorder(network(), path.with_name("other.bin"))
    assert not path.with_name("other.bin").exists()
    assert recorded(path) == []
    shapes.record(BLOCK)
    shapes.close()
    assert recorded(path) == list(range(BLOCK + 1))


def test_other_ranks_refuse_the_same_and_write_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_recorder, "_is_first_process", lambda: False)
    with ShapeRecorder(network(), path, every=5) as shapes:
        shapes.record(6)
        assert shapes.last_iteration == 6
        with pytest.raises(UserError, match="iterations must ascend: 3 was to be recorded after 6"):
            shapes.record(3)
        with pytest.raises(UserError, match="iteration must be a whole number"):
            shapes.record("x")  # type: ignore[arg-type]
        shapes.flush()
    assert not path.exists()


def test_wrong_calls_are_one_clear_sentence(path: Path) -> None:
    with pytest.raises(UserError, match="this Linear has no ActiveConv2d"):
        ShapeRecorder(nn.Linear(1, 1), path)
    wrong: dict[str, Any]
    for wrong in ({"warm_up": -1}, {"warm_up": 1.5}, {"every": 0}, {"resume_after": "3"}, {"every": True}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))} must be a whole number from"):
            ShapeRecorder(network(), path, **wrong)
    assert not path.exists()
    shapes = ShapeRecorder(network(), path)
    shapes.record(np.int64(3))
    for again in (3, 2):
        with pytest.raises(UserError, match=f"iterations must ascend: {again} was to be recorded after 3"):
            shapes.record(again)
    for nonsense in (-1, 4.0, None, True):
        with pytest.raises(UserError, match="iteration must be a whole number from 0 on"):
            shapes.record(nonsense)  # type: ignore[arg-type]
    shapes.record(torch.tensor(4))
    shapes.close()
    for call in (lambda: shapes.record(5), shapes.flush):
        with pytest.raises(UserError, match=r"the recorder of .* is closed"):
            call()
    assert recorded(path) == [3, 4]


def test_frozen_shared_and_moved_layers_of_any_dtype(path: Path) -> None:
    model = network()
    model[0].positions.requires_grad_(False)
    model[2] = ActiveConv2d(4, 4, 3)
    model[2].positions = model[0].positions
    with ShapeRecorder(model, path) as shapes:
        shapes.record(1)
        model.bfloat16()
        shapes.record(2)
        model.double()
        shapes.record(3)
        model.float()
        move(model)
        shapes.record(4)
        with torch.inference_mode():
            shapes.record(5)
    read = read_shapes(path)
    assert np.array_equal(read.layers["0"].positions, read.layers["2"].positions)
    assert read.iterations.tolist() == [1, 2, 3, 4, 5]
    assert (read.layers["0"].positions[3] != read.layers["0"].positions[2]).all()


def test_a_compiled_network_is_recorded_by_its_own_names(path: Path) -> None:
    model = network()
    compiled = torch.compile(model, backend="eager")
    with ShapeRecorder(compiled, path) as shapes:  # type: ignore[arg-type]
        compiled(torch.randn(1, 2, 6, 6)).sum().backward()
        move(model)
        shapes.record(1)
    assert np.array_equal(read_shapes(path).layers["2"].positions[0], model[2].positions.detach().numpy())
    # And another process goes on without compiling.
    ShapeRecorder(network(), path, resume_after=1).close()


PROCESS = """
import os
import sys
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from acu_core import ActiveConv2d, ShapeRecorder

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
torch.manual_seed(0)
model = DistributedDataParallel(nn.Sequential(ActiveConv2d(2, 4, 3), nn.ReLU()))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
torch.manual_seed(rank)
# A file each, so that one of rank 1 would be seen.
with ShapeRecorder(model, f"{folder}/rank{rank}.bin") as shapes:
    for iteration in range(1, 6):
        model(torch.randn(2, 2, 6, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        shapes.record(iteration)
    shapes.flush()
torch.save(model.module[0].positions.detach(), f"{folder}/positions{rank}.pt")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
# Gloo's threads now and then abort an interpreter that ends in its usual way.
os._exit(0)
"""


def test_of_two_processes_only_the_first_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert not (tmp_path / "rank1.bin").exists()
    read = read_shapes(tmp_path / "rank0.bin")
    assert list(read.layers) == ["0"]
    assert read.iterations.tolist() == [1, 2, 3, 4, 5]
    for rank in range(2):
        assert np.array_equal(read.layers["0"].positions[-1], torch.load(tmp_path / f"positions{rank}.pt").numpy())


def test_the_file_is_drawn(path: Path, tmp_path: Path) -> None:
    from acu_core.render.animation import render_animation

    model = network()
    with ShapeRecorder(model, path) as shapes:
        for iteration in range(30):
            shapes.record(iteration)
            move(model)
        shapes.flush()
        report = render_animation(path, tmp_path / "shapes.gif", frames=3, width=460)
    assert report.frames == 3
    assert (tmp_path / "shapes.gif").read_bytes().startswith(b"GIF89a")
