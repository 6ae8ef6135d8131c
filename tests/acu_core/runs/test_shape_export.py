from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from acu_core.errors import UserError
from acu_core.runs import shape_export
from acu_core.runs.shape_export import export_shapes
from acu_core.runs.shapes import read_shapes


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # 18 rows an iteration, so that a block ends inside of the recording.
    monkeypatch.setattr(shape_export, "_BLOCK_ROWS", 100)


def test_a_csv_reads_back_with_the_same_bits(shapes_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "shapes.CSV"
    report = export_shapes(shapes_file, output)
    shapes = read_shapes(shapes_file)
    assert (report.snapshots, report.first, report.last, report.rows) == (20, 0, 95, 360)
    assert report.layers == tuple(shapes.layers)
    assert report.bytes == output.stat().st_size
    with output.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["iteration", "layer", "group", "synapse", "y", "x", "weight_norm"]
    assert len(rows) == report.rows
    found = np.array([row[4:] for row in rows], np.float64).astype(np.float32)
    number = 0
    for step, iteration in enumerate(shapes.iterations.tolist()):
        for name, layer in shapes.layers.items():
            for group, synapse in np.ndindex(layer.positions.shape[1:3]):
                assert rows[number][:4] == [str(iteration), name, str(group), str(synapse)]
                y, x = layer.positions[step, group, synapse]
                expected = np.array([y, x, layer.weight_norms[step, group, synapse]], np.float32)
                assert found[number].tobytes() == expected.tobytes()
                number += 1
    assert all(len(text) <= len(str(np.float32(text))) for row in rows for text in row[4:])


def test_an_npz_reads_back_equal(shapes_file: Path, tmp_path: Path) -> None:
    export_shapes(shapes_file, tmp_path / "shapes.npz", layers=["conv*"], every=10)
    shapes = read_shapes(shapes_file, layers=["conv*"], every=10)
    assert shapes.hidden is not None
    with np.load(tmp_path / "shapes.npz") as found:
        assert np.array_equal(found["iterations"], shapes.iterations)
        assert int(found["warm_up"]) == 20
        assert np.array_equal(found["hidden"], shapes.hidden)
        for name, layer in shapes.layers.items():
            assert np.array_equal(found[f"positions/{name}"], layer.positions)
            assert np.array_equal(found[f"weight_norms/{name}"], layer.weight_norms)
        assert len(found.files) == 3 + 2 * 2


def test_parquet_is_the_table(shapes_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    export_shapes(shapes_file, tmp_path / "shapes.parquet")
    found = pandas.read_parquet(tmp_path / "shapes.parquet")
    table = read_shapes(shapes_file).table()
    assert list(found.columns) == list(table.columns)
    for column in table:
        assert found[column].tolist() == table[column].tolist()
    assert found.weight_norm.dtype == np.float32


def test_without_pyarrow_one_sentence_says_what_is_missing(
    shapes_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"Parquet needs pyarrow.*active-convolution\[parquet\]"):
        export_shapes(shapes_file, tmp_path / "shapes.parquet")
    export_shapes(shapes_file, tmp_path / "shapes.csv")


def test_the_suffix_is_the_format_and_a_directory_is_refused(shapes_file: Path, tmp_path: Path) -> None:
    for name in ("shapes.txt", "shapes"):
        with pytest.raises(UserError, match=r"does not say its format: let its name end with \.csv, \.npz, \.parquet"):
            export_shapes(shapes_file, tmp_path / name)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="is a directory"):
        export_shapes(shapes_file, tmp_path / "folder.csv")
    with pytest.raises(UserError, match="cannot be written"):
        export_shapes(shapes_file, shapes_file / "shapes.csv")


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_an_interrupted_command_leaves_no_half_file_and_the_old_one(
    shapes_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    output = tmp_path / f"shapes{suffix}"
    output.write_text("old")
    write = shape_export._FORMATS[suffix]

    def interrupted(shapes: Any, file: BinaryIO) -> None:
        write(shapes, file)
        raise KeyboardInterrupt

    monkeypatch.setattr(shape_export, "_FORMATS", {suffix: interrupted})
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        export_shapes(shapes_file, output)
    assert output.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.undo()
    export_shapes(shapes_file, output)
    assert output.stat().st_size > 100


def test_damaged_snapshots_are_warned_of(shapes_file: Path, tmp_path: Path) -> None:
    content = bytearray(shapes_file.read_bytes())
    content[-1000] ^= 1
    shapes_file.write_bytes(content)
    told: list[str] = []
    report = export_shapes(shapes_file, tmp_path / "shapes.csv", warn=told.append)
    assert report.snapshots == 19
    assert len(told) == 1
    assert "1 of 20 snapshots" in told[0]
