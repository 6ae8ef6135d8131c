from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acu_core import read_shapes
from acu_core.errors import UserError
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

Snapshot = Callable[[int], tuple[list[Any], list[Any]]]


def test_arrays_are_those_that_were_written(shapes_file: Path, snapshot: Snapshot) -> None:
    shapes = read_shapes(shapes_file)
    assert shapes.iterations.tolist() == list(range(0, 100, 5))
    assert list(shapes.layers) == ["conv1/1", 'odd, "name"', "conv2"]
    assert shapes.warm_up == 20
    assert shapes.hidden is not None
    assert shapes.hidden.shape == (1, 9, 2)
    for number, iteration in enumerate(shapes.iterations.tolist()):
        positions, norms = snapshot(iteration)
        for place, layer in enumerate(shapes.layers.values()):
            assert np.array_equal(layer.positions[number], positions[place])
            assert np.array_equal(layer.weight_norms[number], norms[place])
    assert all(array.flags.c_contiguous for layer in shapes.layers.values() for array in layer)
    with pytest.raises(FrozenInstanceError):
        shapes.warm_up = 3  # type: ignore[misc]


def test_iterations_and_layers_are_chosen(shapes_file: Path, snapshot: Snapshot) -> None:
    shapes = read_shapes(shapes_file, first=7, last=60, every=15, layers=["conv*"])
    assert shapes.iterations.tolist() == [15, 30, 45, 60]
    assert list(shapes.layers) == ["conv1/1", "conv2"]
    assert np.array_equal(shapes.layers["conv2"].positions[1], snapshot(30)[0][2])
    assert read_shapes(shapes_file, last=5).iterations.tolist() == [0, 5]


def test_the_table_has_a_row_for_each_synapse_at_each_iteration(shapes_file: Path) -> None:
    pytest.importorskip("pandas")
    shapes = read_shapes(shapes_file)
    table = shapes.table()
    assert list(table.columns) == ["iteration", "layer", "group", "synapse", "y", "x", "weight_norm"]
    assert len(table) == 20 * (9 + 8 + 1)
    assert table[["y", "x", "weight_norm"]].dtypes.astype(str).tolist() == ["float32"] * 3
    row = table[(table.iteration == 35) & (table.layer == 'odd, "name"') & (table.group == 1) & (table.synapse == 2)]
    layer = shapes.layers['odd, "name"']
    assert row[["y", "x"]].to_numpy().tolist() == [layer.positions[7, 1, 2].tolist()]
    assert row.weight_norm.tolist() == [layer.weight_norms[7, 1, 2]]
    # In the order of iteration, layer in the network, group and synapse.
    assert table.iteration.is_monotonic_increasing
    first = table[table.iteration == 0]
    assert first.layer.drop_duplicates().tolist() == list(shapes.layers)
    assert first[first.layer == "conv1/1"].synapse.tolist() == list(range(9))


def test_without_pandas_the_table_says_what_is_missing(shapes_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"a table needs pandas.*active-convolution\[table\]"):
        read_shapes(shapes_file).table()


def test_a_run_is_read_by_its_directory(shapes_file: Path, tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "", {})
    with pytest.raises(UserError, match=r"there are no snapshots at .*positions\.bin"):
        read_shapes(run.path)
    run.positions.write_bytes(shapes_file.read_bytes())
    assert len(read_shapes(run.path).iterations) == 20
    (run.checkpoints / "00000120.pt").touch()
    with pytest.warns(UserWarning, match="ends with iteration 95, but the run has a checkpoint of iteration 120"):
        read_shapes(run.path)


def test_damaged_snapshots_are_named_and_left_out(shapes_file: Path, snapshot: Snapshot) -> None:
    content = bytearray(shapes_file.read_bytes())
    content[SnapshotFile(shapes_file).length_of(3) + 20] ^= 1
    shapes_file.write_bytes(content)
    told: list[str] = []
    shapes = read_shapes(shapes_file, warn=told.append)
    assert shapes.iterations.tolist() == [i for i in range(0, 100, 5) if i != 15]
    assert np.array_equal(shapes.layers["conv2"].positions[3], snapshot(20)[0][2])
    (warning,) = told
    assert "1 of 20 snapshots" in warning
    assert "number 3, counted from 0" in warning
    with pytest.warns(UserWarning, match="number 3, counted from 0"):
        read_shapes(shapes_file)


def test_what_cannot_be_read_is_one_clear_sentence(shapes_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run at"):
        read_shapes(tmp_path / "none.bin")
    with pytest.raises(UserError, match="is not a run"):
        read_shapes(tmp_path)
    foreign = tmp_path / "foreign.bin"
    foreign.write_bytes(b"iteration,layer\n" * 9)
    with pytest.raises(UserError, match="is not a snapshot file"):
        read_shapes(foreign)
    foreign.write_bytes(b"")
    with pytest.raises(UserError, match="ends inside its header"):
        read_shapes(foreign)
    with (
        SnapshotWriter.create(tmp_path / "new.bin", [LayerEntry("a", 1, 1)]),
        pytest.raises(UserError, match="no snapsh"),
    ):
        read_shapes(tmp_path / "new.bin")
    with pytest.raises(UserError, match=r"no layer is called 'conv9': the run has conv1/1, "):
        read_shapes(shapes_file, layers=["conv9"])
    with pytest.raises(UserError, match="between the iterations 200 and last: it has 0 to 95"):
        read_shapes(shapes_file, first=200)
    with pytest.raises(UserError, match="no snapshot of a multiple of 7 between the iterations 5 and 20"):
        read_shapes(shapes_file, first=5, last=20, every=7)
    with pytest.raises(UserError, match="every must be at least 1"):
        read_shapes(shapes_file, every=0)


def test_a_file_that_grows_is_read_as_far_as_it_is(shapes_file: Path, snapshot: Snapshot) -> None:
    whole = shapes_file.read_bytes()
    with SnapshotWriter.open_for_append(shapes_file, len(whole)) as writer:
        before = read_shapes(shapes_file)
        writer.append(100, *snapshot(100))
        assert read_shapes(shapes_file).iterations.tolist() == [*range(0, 100, 5), 100]
        assert len(before.iterations) == 20
    torn = shapes_file.read_bytes()
    shapes_file.write_bytes(torn[:-3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_shapes(shapes_file).iterations[-1] == 95
    # And what was read does not change when a resumed training cuts the file.
    shapes_file.write_bytes(whole[:-1000])
    assert np.array_equal(before.layers["conv2"].positions[19], snapshot(95)[0][2])
