from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acu_core.errors import UserError
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.snapshot_selection import run_of, select_snapshots


def test_what_is_picked_is_what_the_file_says(shapes_file: Path) -> None:
    file = SnapshotFile(shapes_file)
    for options, numbers in (
        ({}, range(20)),
        ({"first": 10, "last": 30}, range(2, 7)),
        ({"every": 20}, range(0, 20, 4)),
        ({"every": 20, "first": 1, "last": 40}, (4, 8)),
    ):
        for layers in (None, ["conv2"], ["conv*"]):
            chosen = select_snapshots(shapes_file, layers=layers, **options)  # type: ignore[arg-type]
            assert chosen.numbers.tolist() == list(numbers)
            assert chosen.iterations.tolist() == [5 * number for number in numbers]
            for name in chosen.layers:
                assert np.array_equal(chosen.positions(name), file.positions(name)[list(numbers)])
                assert np.array_equal(chosen.weight_norms(name), file.weight_norms(name)[list(numbers)])


def test_few_layers_do_not_hold_the_memory_of_all(shapes_file: Path) -> None:
    assert select_snapshots(shapes_file, layers=["conv2"]).positions("conv2").base is None
    assert select_snapshots(shapes_file).positions("conv2").base is not None


def test_a_source_is_a_run_or_a_file(shapes_file: Path, tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "", {})
    assert run_of(run) is run
    found = run_of(run.path)
    assert found is not None
    assert found.path == run.path
    assert run_of(shapes_file) is None
    with pytest.raises(UserError, match="there is no run"):
        run_of(tmp_path / "none")


def test_one_whole_snapshot_among_damaged_ones_is_used(shapes_file: Path) -> None:
    file = SnapshotFile(shapes_file)
    content = bytearray(shapes_file.read_bytes())
    for number in range(19):
        content[file.length_of(number) + 9] ^= 1
    shapes_file.write_bytes(content)
    told: list[str] = []
    assert select_snapshots(shapes_file, warn=told.append).iterations.tolist() == [95]
    assert "19 of 20 snapshots" in told[0]
