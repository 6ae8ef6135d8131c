from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from acu_core.learn.step import StepFigures
from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
from acu_core.recipe.recipe_file import load_recipe
from acu_core.runs.json_lines import LogWriter, read_log
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.snapshot_writer import SnapshotWriter
from acu_core.train.recorder import Recorder
from acu_core.train.shape_collector import ShapeCollector, layer_entries


def collected(model: nn.Module, path: Path) -> SnapshotFile:
    layers = active_layers(model)
    collector = ShapeCollector(layers)
    collector.collect(0)
    with SnapshotWriter.create(path, layer_entries(layers)) as snapshots:
        collector.write(snapshots)
    return SnapshotFile(path)


def test_positions_and_norms_are_those_of_the_moment(tmp_path: Path) -> None:
    model = nn.Sequential(ActiveConv2d(2, 6, 3, position_groups=3, shape="random"), ActiveConv2d(6, 4, (1, 2)))
    layers = active_layers(model)
    collector = ShapeCollector(layers)
    expected = []
    with SnapshotWriter.create(tmp_path / "shapes.bin", layer_entries(layers)) as snapshots:
        for iteration in range(3):
            collector.collect(iteration)
            expected.append([(p.positions.detach().clone(), p.weight.detach().clone()) for p in layers.values()])
            for parameter in model.parameters():
                parameter.data.add_(1)
        assert collector.pending == 3
        collector.write(snapshots)
        assert collector.pending == 0
    file = SnapshotFile(tmp_path / "shapes.bin")
    for iteration, values in enumerate(expected):
        for name, (positions, weight) in zip(layers, values, strict=True):
            groups = positions.shape[0]
            norms = [part.square().sum((0, 1)).sqrt() for part in weight.chunk(groups)]
            assert np.array_equal(file.positions(name)[iteration], positions.numpy())
            np.testing.assert_allclose(file.weight_norms(name)[iteration], torch.stack(norms).numpy(), rtol=1e-6)


def test_only_the_first_are_written_when_so_told(tmp_path: Path) -> None:
    layers = active_layers(nn.Sequential(ActiveConv2d(1, 1, 3)))
    collector = ShapeCollector(layers)
    with SnapshotWriter.create(tmp_path / "shapes.bin", layer_entries(layers)) as snapshots:
        for iteration in range(5):
            collector.collect(iteration)
        collector.write(snapshots, 2)
        collector.write(snapshots)
    assert SnapshotFile(tmp_path / "shapes.bin").iterations.tolist() == [0, 1]


def test_collecting_reads_no_value_off_the_device(tmp_path: Path) -> None:
    # The meta device has no values: whatever would wait for one fails there.
    layers = active_layers(nn.Sequential(ActiveConv2d(2, 4, 3, position_groups=2), ActiveConv2d(4, 4, 3)).to("meta"))
    collector = ShapeCollector(layers)
    collector.collect(0)
    assert collector.pending == 1
    with (
        SnapshotWriter.create(tmp_path / "shapes.bin", layer_entries(layers)) as snapshots,
        pytest.raises(NotImplementedError),
    ):
        collector.write(snapshots)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_on_two_devices_that_moves_meanwhile(tmp_path: Path) -> None:
    model = nn.Sequential(ActiveConv2d(2, 4, 3, shape="random"), ActiveConv2d(4, 4, 3, shape="random"))
    layers = active_layers(model)
    collector = ShapeCollector(layers)
    for iteration, devices in enumerate([("cpu", "cpu"), ("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")]):
        for layer, device in zip(layers.values(), devices, strict=True):
            layer.to(device)
        collector.collect(iteration)
    with SnapshotWriter.create(tmp_path / "shapes.bin", layer_entries(layers)) as snapshots:
        collector.write(snapshots)
    file = SnapshotFile(tmp_path / "shapes.bin")
    for name, layer in layers.items():
        for iteration in range(4):
            assert np.array_equal(file.positions(name)[iteration], layer.positions.detach().cpu().numpy())
            np.testing.assert_allclose(file.weight_norms(name)[iteration], file.weight_norms(name)[0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_layers_of_other_dtypes(tmp_path: Path, dtype: torch.dtype) -> None:
    model = nn.Sequential(ActiveConv2d(64, 64, 3, shape="random")).to(dtype)
    # A norm of float16 would be infinite.
    model[0].weight.data.fill_(2000)
    model[0].positions.data.add_(1 / 3)
    file = collected(model, tmp_path / "shapes.bin")
    assert np.array_equal(file.positions("0")[0], model[0].positions.detach().float().numpy())
    weight = float(model[0].weight.detach()[0, 0, 0])
    # 4,096 squares added up in float32; a norm of bfloat16 would be 4e-3 off.
    np.testing.assert_allclose(file.weight_norms("0")[0], weight * 64, rtol=1e-4)


def test_what_the_disk_refuses_is_kept_with_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = active_layers(nn.Sequential(ActiveConv2d(1, 1, 3)))
    with (
        SnapshotWriter.create(tmp_path / "positions.bin", layer_entries(layers)) as snapshots,
        LogWriter(tmp_path / "metrics.jsonl") as metrics,
    ):
        recorder = Recorder(load_recipe("planted"), layers, snapshots, metrics)
        recorder.collect(1, StepFigures(torch.tensor(0.5), torch.tensor(0.25)))

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(os, "write", full)
            with pytest.raises(OSError, match="No space left"):
                recorder.flush()
        recorder.collect(2, StepFigures(torch.tensor(0.5), torch.tensor(0.25)))
        recorder.flush()
    assert SnapshotFile(tmp_path / "positions.bin").iterations.tolist() == [1, 2]
    assert [line["iteration"] for line in read_log(tmp_path / "metrics.jsonl")] == [1, 2]
