from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acu_core.errors import UserError
from acu_core.render.recording import load_recording
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

MakeRecording = Callable[..., Path]


def test_a_recording_knows_whether_its_beginning_was_cut(make_recording: MakeRecording) -> None:
    path = make_recording(iterations=50)
    assert load_recording(path, first=20).shortened
    for whole in (load_recording(path), load_recording(path, first=0), load_recording(path, last=20)):
        assert not whole.shortened


def test_iterations_and_layers_are_chosen(make_recording: MakeRecording) -> None:
    path = make_recording(3, hidden=np.zeros((1, 9, 2)).tolist())
    recording = load_recording(path, first=10, last=20, layers=["conv2", "*0"])
    assert recording.iterations.tolist() == list(range(10, 21))
    assert list(recording.positions) == ["conv0", "conv2"]
    assert recording.positions["conv0"].shape == (11, 1, 9, 2)
    assert recording.warm_up == 40
    assert recording.hidden is not None
    assert recording.hidden.shape == (1, 9, 2)
    assert recording.all_synapses().shape == (11, 18, 2)


def test_what_cannot_be_drawn_is_said(make_recording: MakeRecording, tmp_path: Path) -> None:
    path = make_recording(2)
    with pytest.raises(UserError, match=r"'conv7'.*conv0, conv1"):
        load_recording(path, layers=["conv0", "conv7"])
    with pytest.raises(UserError, match="no layer was chosen"):
        load_recording(path, layers=[])
    with pytest.raises(UserError, match="300 and last: it has 0 to 200"):
        load_recording(path, first=300)
    with pytest.raises(UserError, match="there is no run"):
        load_recording(tmp_path / "none")
    with pytest.raises(UserError, match="no snapshots"):
        load_recording(RunDirectory.create(tmp_path / "run", "", {}))
    with SnapshotWriter.create(tmp_path / "base.bin", []) as writer:
        writer.append(0, [], [])
    with pytest.raises(UserError, match="ordinary convolutions"):
        load_recording(tmp_path / "base.bin")
    with SnapshotWriter.create(tmp_path / "odd.bin", [LayerEntry("a", 1, 1)]) as writer:
        with pytest.raises(UserError, match="no snapshot yet"):
            load_recording(tmp_path / "odd.bin")
        writer.append(0, [np.zeros((1, 1, 2))], [np.zeros((1, 1))])
        writer.append(1, [np.full((1, 1, 2), np.nan)], [np.zeros((1, 1))])
    with pytest.raises(UserError, match="positions of a are not finite at iteration 1"):
        load_recording(tmp_path / "odd.bin")
    assert len(load_recording(tmp_path / "odd.bin", last=0).iterations) == 1


def test_damaged_snapshots_are_named_and_left_out(make_recording: MakeRecording) -> None:
    path = make_recording(2)
    content = bytearray(path.read_bytes())
    size = 8 + 2 * 9 * 3 * 4 + 4
    start = len(content) - 201 * size
    # The exponent of a position in one, zeros over the next two.
    content[start + 50 * size + 8 + 3] ^= 0x04
    content[start + 60 * size : start + 62 * size] = bytes(2 * size)
    path.write_bytes(content)
    warnings: list[str] = []
    recording = load_recording(path, warn=warnings.append)
    assert recording.iterations.tolist() == [i for i in range(201) if i not in (50, 60, 61)]
    assert float(np.abs(recording.all_synapses()).max()) < 3
    (warning,) = warnings
    assert "number 50, 60 to 61" in warning
    assert str(path) in warning
    with pytest.warns(UserWarning, match="number 50, 60 to 61"):
        load_recording(path)
    content[start:] = bytes(len(content) - start)
    content[-size:] = path.read_bytes()[-size:]
    path.write_bytes(content)
    assert load_recording(path, warn=warnings.append).iterations.tolist() == [200]


def test_a_file_that_ends_before_the_newest_checkpoint_is_drawn_with_a_warning(
    make_recording: MakeRecording, tmp_path: Path
) -> None:
    run = RunDirectory.create(tmp_path / "run", "", {})
    run.positions.write_bytes(make_recording(1).read_bytes())
    (run.checkpoints / "00000200.pt").write_bytes(b"")
    assert load_recording(run).iterations[-1] == 200
    run.positions.write_bytes(run.positions.read_bytes()[:-1000])
    warnings: list[str] = []
    last = load_recording(run.path, warn=warnings.append).iterations[-1]
    (warning,) = warnings
    assert f"ends with iteration {last}, but the run has a checkpoint of iteration 200" in warning


def test_drawing_does_not_import_torch(make_recording: MakeRecording) -> None:
    program = (
        "import sys; from acu_core.render.recording import load_recording\n"
        "load_recording(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(make_recording(1))], check=True, timeout=60)


def test_what_is_not_drawn_is_not_kept_in_memory(make_recording: MakeRecording) -> None:
    path = make_recording(8)
    assert load_recording(path, layers=["conv1"]).positions["conv1"].base is None
    whole = load_recording(path)
    # And what is drawn is there once.
    assert np.shares_memory(np.asarray(whole.positions["conv1"].base), np.asarray(whole.weight_norms["conv7"].base))


def test_positions_that_are_not_finite_are_found_behind_damage(make_recording: MakeRecording) -> None:
    path = make_recording(1)
    content = bytearray(path.read_bytes())
    size = 8 + 9 * 3 * 4 + 4
    start = len(content) - 201 * size
    content[start + 20 * size : start + 21 * size] = bytes(size)
    record = start + 30 * size
    content[record + 8 : record + 12] = np.float32(np.inf).tobytes()
    content[record + size - 4 : record + size] = zlib.crc32(content[record : record + size - 4]).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(UserError, match="not finite at iteration 30") as error, pytest.warns(UserWarning, match="20,"):
        load_recording(path)
    assert error.value.remedies[0].subject == "29"


def test_the_first_iteration_at_which_anything_is_not_finite_is_named(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    positions, norms = np.zeros((9, 1, 2, 2)), np.ones((9, 1, 2))
    later, infinite = positions.copy(), norms.copy()
    later[7, 0, 1, 0] = np.nan
    infinite[4, 0, 1] = np.inf
    with SnapshotWriter.create(path, [LayerEntry("a", 1, 2), LayerEntry("b", 1, 2)]) as writer:
        writer.append_block(np.arange(9) + 20, [later, positions], [norms, infinite])
    with pytest.raises(UserError, match="weight norms of b are not finite at iteration 24") as error:
        load_recording(path)
    assert error.value.remedies[0].subject == "23"
    with pytest.raises(UserError, match="positions of a are not finite at iteration 27"):
        load_recording(path, layers=["a"])
    assert len(load_recording(path, last=23).iterations) == 4
