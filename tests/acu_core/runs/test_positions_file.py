from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acu_core.errors import UserError
from acu_core.runs import snapshot_file
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.snapshot_header import MAGIC, VERSION, LayerEntry, TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter

LAYERS = [LayerEntry("conv1_1", 1, 9), LayerEntry("conv1_2", 2, 4)]


def snapshot(iteration: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    generator = np.random.default_rng(iteration)
    positions = [generator.normal(size=(e.groups, e.synapses, 2)).astype(np.float32) for e in LAYERS]
    norms = [generator.random((e.groups, e.synapses), np.float32) for e in LAYERS]
    return positions, norms


def write(path: Path, iterations: list[int]) -> list[int]:
    """Writes snapshots; the lengths after the header and after each of them."""
    with SnapshotWriter.create(path, LAYERS, TrainingFacts(5)) as writer:
        lengths = [writer.length]
        for iteration in iterations:
            writer.append(iteration, *snapshot(iteration))
            lengths.append(writer.length)
    return lengths


def assert_holds(file: SnapshotFile, iterations: list[int]) -> None:
    assert len(file) == len(iterations)
    assert file.iterations.tolist() == iterations
    for index, iteration in enumerate(iterations):
        positions, norms = snapshot(iteration)
        for layer, entry in enumerate(LAYERS):
            np.testing.assert_array_equal(file.positions(entry.name)[index], positions[layer])
            np.testing.assert_array_equal(file.weight_norms(entry.name)[index], norms[layer])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    iterations = [0, 1, 2, 7, 64_000, 2**40]
    lengths = write(path, iterations)
    file = SnapshotFile(path)
    assert path.stat().st_size == lengths[-1]
    assert file.layers == tuple(LAYERS)
    assert file.facts == TrainingFacts(5)
    assert file.ignored_bytes == 0
    assert file.positions("conv1_2").shape == (6, 2, 4, 2)
    assert file.weight_norms("conv1_2").shape == (6, 2, 4)
    assert_holds(file, iterations)
    file.verify()


def test_a_reader_that_knows_only_the_documented_layout_gets_the_same_numbers(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    write(path, [3, 9])
    content = path.read_bytes()
    magic, version, length = struct.unpack_from("<8sII", content)
    assert (magic, version) == (MAGIC, VERSION)
    header = json.loads(content[16 : 16 + length])
    start = 16 + length + 4
    assert start % 8 == 0
    assert struct.unpack_from("<I", content, 16 + length)[0] == zlib.crc32(content[: 16 + length])
    size = 8 + 4 * (9 * 2 + 9 + 8 * 2 + 8) + 4
    assert header["record_bytes"] == size
    record = content[start + size : start + 2 * size]
    assert struct.unpack_from("<Q", record)[0] == 9
    assert struct.unpack_from("<I", record, size - 4)[0] == zlib.crc32(record[:-4])
    positions, norms = snapshot(9)
    expected = np.concatenate([a.ravel() for pair in zip(positions, norms, strict=True) for a in pair])
    np.testing.assert_array_equal(np.frombuffer(record[8:-4], "<f4"), expected)


def test_equal_trainings_write_equal_files(tmp_path: Path) -> None:
    write(tmp_path / "a", [0, 1])
    write(tmp_path / "b", [0, 1])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_block_writes_the_same_bytes_as_single_snapshots(tmp_path: Path) -> None:
    write(tmp_path / "single", [0, 4, 5])
    snapshots = [snapshot(i) for i in (0, 4, 5)]
    with SnapshotWriter.create(tmp_path / "block", LAYERS, TrainingFacts(5)) as writer:
        writer.append_block([], [], [])
        writer.append_block(
            np.array([0, 4, 5]),
            [np.stack([s[0][layer] for s in snapshots]) for layer in range(2)],
            [np.stack([s[1][layer] for s in snapshots]) for layer in range(2)],
        )
    assert (tmp_path / "block").read_bytes() == (tmp_path / "single").read_bytes()


def test_a_record_torn_at_any_byte_is_ignored_and_can_be_written_again(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    lengths = write(whole, [0, 1, 2])
    content = whole.read_bytes()
    torn = tmp_path / "torn"
    for end in range(lengths[2], lengths[3]):
        torn.write_bytes(content[:end])
        file = SnapshotFile(torn)
        assert_holds(file, [0, 1])
        assert file.ignored_bytes == end - lengths[2]
        file.verify()
    with SnapshotWriter.open_for_append(torn, lengths[2]) as writer:
        writer.append(2, *snapshot(2))
    assert torn.read_bytes() == content


def test_a_header_cut_at_any_byte_is_one_clear_error(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    start = write(whole, [0])[0]
    content = whole.read_bytes()
    cut = tmp_path / "cut"
    for end in range(start):
        cut.write_bytes(content[:end])
        with pytest.raises(UserError, match="cut"):
            SnapshotFile(cut)
        with pytest.raises(UserError, match="cut"):
            SnapshotWriter.open_for_append(cut, end)
        assert cut.read_bytes() == content[:end]
    cut.write_bytes(content[:start])
    assert len(SnapshotFile(cut)) == 0


def test_a_flipped_bit_anywhere_in_the_header_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    start = write(path, [0])[0]
    content = path.read_bytes()
    for place in range(start):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"positions\.bin"):
            SnapshotFile(path)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n" + bytes(100), b"iteration,loss\n" * 20, bytes(4096), MAGIC.replace(b"\n", b"\r\n")]
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(UserError, match="foreign"):
        SnapshotFile(path)
    with pytest.raises(UserError, match="foreign"):
        SnapshotWriter.open_for_append(path, 10)
    assert path.read_bytes() == content


def test_a_header_of_another_version_or_with_nonsense_inside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"

    def put(version: int, text: bytes) -> None:
        head = struct.pack("<8sII", MAGIC, version, len(text)) + text
        path.write_bytes(head + struct.pack("<I", zlib.crc32(head)))

    layer = {"name": "a", "groups": 1, "synapses": 9}
    put(VERSION + 1, b"{}")
    with pytest.raises(UserError, match="version 2"):
        SnapshotFile(path)
    for content in (
        [],
        {"layers": 3, "extra": {}, "record_bytes": 12},
        {"layers": [layer], "extra": {}, "record_bytes": 13},
        {"layers": [layer, layer], "extra": {}, "record_bytes": 228},
        {"layers": [{**layer, "synapses": -9}], "extra": {}, "record_bytes": 12},
        {"layers": [{**layer, "synapses": 10**30}], "extra": {}, "record_bytes": 12},
        {"layers": [layer], "extra": {"warm_up": -1}, "record_bytes": 120},
        {"layers": [layer], "extra": {"warm_up": "long"}, "record_bytes": 120},
        {"layers": [layer], "extra": {"hidden_positions": "x"}, "record_bytes": 120},
        {"layers": [layer], "extra": {"hidden_positions": [[1]]}, "record_bytes": 120},
        {"layers": [layer], "extra": {"hidden_positions": [[["1", 0]]]}, "record_bytes": 120},
        {"layers": [layer], "extra": {"hidden_positions": [[[1e400, 0]]]}, "record_bytes": 120},
    ):
        put(VERSION, json.dumps(content).encode())
        with pytest.raises(UserError, match="header"):
            SnapshotFile(path)


def test_a_flipped_bit_in_a_record_is_found_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    lengths = write(path, [0, 1, 2])
    content = path.read_bytes()
    for place in range(lengths[1], lengths[2], 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        file = SnapshotFile(path)
        assert file.damaged.tolist() == [1]
        with pytest.raises(UserError, match=r"1 of 3 snapshots of .* are damaged \(number 1, counted"):
            file.verify()
        with pytest.raises(UserError, match="number 1,"):
            SnapshotWriter.open_for_append(path, lengths[3])
        assert path.read_bytes() == damaged
        SnapshotWriter.open_for_append(path, lengths[1]).close()
        assert path.read_bytes() == damaged, "cut by the first append, or when told to"


def test_last_records_full_of_zeros_count_as_torn(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    lengths = write(path, [0, 1, 2, 3])
    content = bytearray(path.read_bytes())
    content[lengths[2] :] = bytes(len(content) - lengths[2])
    path.write_bytes(content)
    assert_holds(SnapshotFile(path), [0, 1])


def test_a_reader_sees_what_was_whole_when_it_opened_while_the_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    with SnapshotWriter.create(path, LAYERS) as writer:
        empty = SnapshotFile(path)
        for iteration in range(3):
            writer.append(iteration, *snapshot(iteration))
        early = SnapshotFile(path)
        for iteration in range(3, 500):
            writer.append(iteration, *snapshot(iteration))
        assert len(empty) == 0
        assert empty.positions("conv1_1").shape == (0, 1, 9, 2)
        assert_holds(early, [0, 1, 2])
        assert_holds(SnapshotFile(path), list(range(500)))


def test_going_on_cuts_to_the_checkpoint_and_continues(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    lengths = write(path, [0, 1, 2, 3])
    with SnapshotWriter.open_for_append(path, lengths[2]) as writer:
        assert writer.layers == tuple(LAYERS)
        assert writer.length == lengths[2]
        with pytest.raises(ValueError, match="ascend"):
            writer.append(1, *snapshot(1))
        writer.append(10, *snapshot(10))
        writer.sync()
    assert_holds(SnapshotFile(path), [0, 1, 10])


def test_going_on_refuses_wrong_lengths_and_cuts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    lengths = write(path, [0, 1])
    content = path.read_bytes()
    for length, message in (
        (lengths[-1] + 1, "shortened"),
        (lengths[1] + 1, "end of a snapshot"),
        (3, "end of a snap"),
    ):
        with pytest.raises(UserError, match=message):
            SnapshotWriter.open_for_append(path, length)
    assert path.read_bytes() == content
    with pytest.raises(UserError, match="missing"):
        SnapshotWriter.open_for_append(tmp_path / "none", 0)


def test_an_existing_file_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    write(path, [0])
    content = path.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        SnapshotWriter.create(path, LAYERS)
    assert path.read_bytes() == content
    SnapshotWriter.create(path, LAYERS, replace=True).close()
    assert len(SnapshotFile(path)) == 0


def test_wrong_snapshots_are_refused_and_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    positions, norms = snapshot(0)
    with SnapshotWriter.create(path, LAYERS) as writer:
        writer.append(4, positions, norms)
        length = writer.length
        for iteration, p, n in (
            (4, positions, norms),
            (3, positions, norms),
            (5, positions[:1], norms),
            (5, positions, norms[:1]),
            # Would broadcast.
            (5, [positions[0], positions[1][:1]], norms),
            (5, positions, [norms[0], norms[1][:, :1]]),
        ):
            with pytest.raises(ValueError, match=r"ascend|layers|shape"):
                writer.append(iteration, p, n)
        assert path.stat().st_size == writer.length == length
    with pytest.raises(ValueError, match="closed"):
        writer.append(9, positions, norms)
    for layers in ([LAYERS[0], LAYERS[0]], [LayerEntry("", 1, 9)], [LayerEntry("a", 0, 9)]):
        with pytest.raises(UserError):
            SnapshotWriter.create(tmp_path / "other", layers)
        assert not (tmp_path / "other").exists()


def test_a_network_without_layers_to_record_has_snapshots_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    with SnapshotWriter.create(path, []) as writer:
        writer.append(0, [], [])
        writer.append(1, [], [])
    assert SnapshotFile(path).iterations.tolist() == [0, 1]


def test_unknown_layers_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    write(path, [0])
    with pytest.raises(UserError, match=r"'conv9'.*conv1_1, conv1_2"):
        SnapshotFile(path).positions("conv9")
    with pytest.raises(UserError, match="no snapshots"):
        SnapshotFile(tmp_path / "none")
    with pytest.raises(UserError, match="cannot be read"):
        SnapshotFile(tmp_path)


def test_a_full_disk_takes_back_the_half_written_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "positions.bin"
    real_write = os.write
    with SnapshotWriter.create(path, LAYERS) as writer:
        writer.append(0, *snapshot(0))
        calls = []

        def write_half_then_fail(descriptor: int, data: memoryview) -> int:
            calls.append(len(data))
            if len(calls) > 1:
                raise OSError(28, "No space left on device")
            return real_write(descriptor, data[: len(data) // 2])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write_half_then_fail)
            with pytest.raises(OSError, match="No space"):
                writer.append(1, *snapshot(1))
        assert len(calls) == 2
        assert path.stat().st_size == writer.length
        writer.append(1, *snapshot(1))
    assert_holds(SnapshotFile(path), [0, 1])


def test_damage_is_named_in_few_words_and_order_is_damage_too(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    lengths = write(path, list(range(40)))
    content = bytearray(path.read_bytes())
    record = content[lengths[3] : lengths[4]]
    for number in (0, 4, 5, 6, 10, 12, 14, 16, 18, 20):
        content[lengths[number] : lengths[number + 1]] = bytes(len(record))
    # A record that is whole, in the place of another one.
    content[lengths[30] : lengths[31]] = record
    path.write_bytes(content)
    file = SnapshotFile(path)
    assert file.damaged.tolist() == [0, 4, 5, 6, 10, 12, 14, 16, 18, 20, 30]
    assert "number 0, 4 to 6, 10, 12, 14 and 4 more places" in file.describe_damage()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_directory_is_refused(tmp_path: Path, make: object) -> None:
    path = tmp_path / "positions.bin"
    (os.mkfifo if make is os.mkfifo else os.mkdir)(path)
    with pytest.raises(UserError, match="not a regular file"):
        SnapshotFile(path)
    with pytest.raises(UserError, match="not a regular file"):
        SnapshotWriter.open_for_append(path, 0)
    with pytest.raises(UserError, match="cannot be written"):
        SnapshotWriter.create(path, LAYERS, replace=True)


def test_a_file_in_memory_holds_what_is_cut_off_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    lengths = write(path, [0, 1, 2, 3])
    file = SnapshotFile(path, in_memory=True)
    os.truncate(path, lengths[1])
    assert_holds(file, [0, 1, 2, 3])
    file.verify()
    assert file.ignored_bytes == 0
    os.truncate(path, lengths[0])
    assert len(SnapshotFile(path, in_memory=True)) == 0


def test_a_file_that_is_cut_while_it_is_read_into_memory_has_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "positions.bin"
    lengths = write(path, list(range(9)))
    read = snapshot_file._read

    def cut_and_read(*rest: Any) -> Any:
        os.truncate(path, lengths[6] + 5)
        return read(*rest)

    monkeypatch.setattr(snapshot_file, "_read", cut_and_read)
    file = SnapshotFile(path, in_memory=True)
    assert_holds(file, list(range(6)))
    file.verify()
