from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from acu_core.runs.snapshot_follower import SnapshotFollower
from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter

LAYERS = [LayerEntry("a", 1, 9), LayerEntry("b", 2, 4)]
SYNAPSES = 17


def shapes(number: int) -> list[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(number)
    return [rng.normal(size=(layer.groups, layer.synapses, 2)).astype(np.float32) for layer in LAYERS]


def append(writer: SnapshotWriter, *numbers: int, seed: int = 0) -> None:
    for number in numbers:
        norms = [np.ones((layer.groups, layer.synapses), np.float32) for layer in LAYERS]
        writer.append(number, shapes(number + seed), norms)


def flat(number: int) -> npt.NDArray[np.float32]:
    return np.concatenate([shape.reshape(-1, 2) for shape in shapes(number)])


def test_snapshots_come_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    follower = SnapshotFollower(path)
    assert not follower.poll()
    assert (len(follower), follower.has_begun, follower.layers) == (0, False, ())
    with SnapshotWriter.create(path, LAYERS, TrainingFacts(5)) as writer:
        assert not follower.poll()
        assert (len(follower), follower.has_begun, follower.layers) == (0, True, tuple(LAYERS))
        assert follower.facts.warm_up == 5
        append(writer, 0, 1, 2)
        assert not follower.poll()
        assert len(follower) == 3
        found = follower.read([0, 2])
        assert found.iterations.tolist() == [0, 2]
        assert found.positions.shape == (2, SYNAPSES, 2)
        assert (found.positions[1] == flat(2)).all()
        append(writer, 3)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        follower.poll()
        assert len(follower) == 3


def test_a_header_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path, whole = tmp_path / "positions.bin", tmp_path / "whole.bin"
    with SnapshotWriter.create(whole, LAYERS) as writer:
        append(writer, 0)
    content = whole.read_bytes()
    follower = SnapshotFollower(path)
    for length in (0, 5, 20, 60):
        path.write_bytes(content[:length])
        assert not follower.poll()
        assert (follower.has_begun, follower.damage) == (False, None)
    path.write_bytes(content)
    follower.poll()
    assert len(follower) == 1


def test_a_file_that_is_cut_back_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    with SnapshotWriter.create(path, LAYERS) as writer:
        append(writer, 0, 1)
        kept = writer.length
        append(writer, 2, 3, 4)
    follower = SnapshotFollower(path)
    follower.poll()
    with SnapshotWriter.open_for_append(path, kept) as writer:
        writer.cut()
        # Read before it is noticed: no more than nothing, where a map would end the process.
        assert follower.read([0, 4]).iterations.tolist() == [0]
        assert follower.poll()
        assert len(follower) == 2
        append(writer, 2, 3, 4, 5, 6, seed=100)
    assert not follower.poll()
    assert len(follower) == 7


def test_a_file_that_was_cut_and_has_grown_longer_since_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    with SnapshotWriter.create(path, LAYERS) as writer:
        append(writer, 0)
        kept = writer.length
        append(writer, 1, 2)
    follower = SnapshotFollower(path)
    follower.poll()
    with SnapshotWriter.open_for_append(path, kept) as writer:
        append(writer, 1, 2, 3, seed=100)
    assert follower.poll()
    assert (follower.read([2]).positions[0] == flat(102)).all()


def test_damaged_snapshots_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    with SnapshotWriter.create(path, LAYERS) as writer:
        append(writer, 0)
        begin = writer.length
        append(writer, 1, 2)
    content = bytearray(path.read_bytes())
    content[begin + 20] ^= 1
    path.write_bytes(content)
    follower = SnapshotFollower(path)
    follower.poll()
    assert follower.read([0, 1, 2]).iterations.tolist() == [0, 2]
    assert follower.damaged == {1}


def test_a_foreign_file_is_damage_until_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    path.write_bytes(b"something else altogether")
    follower = SnapshotFollower(path)
    assert not follower.poll()
    assert follower.damage is not None
    assert "is not a snapshot file" in follower.damage
    assert not follower.poll()
    path.unlink()
    with SnapshotWriter.create(path, LAYERS) as writer:
        append(writer, 0)
    follower.poll()
    assert (len(follower), follower.damage) == (1, None)
