"""The authors' networks on the real CIFAR-10: operator, network, importer and preprocessing in one number.

Runs when ACU_TEST_CAFFE names the folder of the authors' models and ACU_TEST_CIFAR10 an .npz file of CIFAR-10.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from acu_core.caffe.import_run import import_caffe
from acu_core.data.data_set import DataSet
from acu_core.data.loading import load_data_set
from acu_core.experiments.stored_receptive_field import StoredReceptiveFields
from acu_core.learn.evaluation import evaluate_network
from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.networks import build_network
from acu_core.op.library import has_kernel
from acu_core.op.reference import active_conv2d_reference
from acu_core.runs.checkpoints import load_checkpoint
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

pytestmark = pytest.mark.skipif(
    not {"ACU_TEST_CAFFE", "ACU_TEST_CIFAR10"} <= set(os.environ),
    reason="ACU_TEST_CAFFE does not name the folder of the authors' models, or ACU_TEST_CIFAR10 no .npz of CIFAR-10",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return load_data_set(
        "cifar10", path=Path(os.environ["ACU_TEST_CIFAR10"]), cache=tmp_path_factory.mktemp("cache") / "acu"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    files = sorted(Path(os.environ["ACU_TEST_CAFFE"]).glob("plain_iter_*.caffemodel"))
    assert len(files) >= 2
    return RunDirectory.open(import_caffe(files, tmp_path_factory.mktemp("runs") / "authors").run)


def reference_everywhere(model: nn.Module) -> list[int]:
    """Makes every unit compute in plain PyTorch; the list grows with each call."""
    calls: list[int] = []

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(len(calls))
        return active_conv2d_reference(*arguments)

    for layer in active_layers(model).values():
        layer.operator = counted
    return calls


# Published by the authors: 7.42 % at iteration 50,000. Two images more or less are rounding.
@pytest.mark.timeout(1800)  # the reference takes two minutes of processor time a network
@pytest.mark.parametrize("operator", ["compiled", "reference"])
@pytest.mark.parametrize(("iteration", "errors"), [(50_000, 742), (10_000, 1832)])
def test_the_errors_are_the_authors(
    run: RunDirectory, data: DataSet, iteration: int, errors: int, operator: str
) -> None:
    model = build_network("plain", in_channels=3, classes=10).eval()
    model.load_state_dict(load_checkpoint(run, iteration).model)
    model = model.to(memory_format=torch.channels_last)
    assert has_kernel("cpu")
    calls = reference_everywhere(model) if operator == "reference" else []
    found = evaluate_network(model, data, batch_size=100, memory_format="channels_last")
    assert found.images == 10_000
    assert abs(found.errors - errors) <= 2
    assert len(calls) == (600 if operator == "reference" else 0)


def test_the_warm_up_is_seen(run: RunDirectory) -> None:
    snapshots = SnapshotFile(run.positions)
    at = snapshots.iterations.tolist()
    for layer in snapshots.layers:
        positions = snapshots.positions(layer.name)
        before, after = positions[at.index(10_000)], positions[at.index(50_000)]
        assert (before == np.round(before)).all()
        assert (after[:, 4] == 0).all()
        assert (after != np.round(after)).sum() == 16


def test_the_receptive_field_bounds_the_gradients_of_real_images(run: RunDirectory, data: DataSet) -> None:
    fields = StoredReceptiveFields.open(run.path)
    model = build_network("plain", in_channels=3, classes=10).double().eval()
    model.load_state_dict(load_checkpoint(run, 50_000).model)
    seen: list[torch.Tensor] = []
    model.pool.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    snapshots = SnapshotFile(run.positions)
    images = next(data.test_batches(16))[0].double()
    for number, radius in ((0, 5.94), (1, 8.93)):
        positions = {layer.name: np.array(snapshots.positions(layer.name)[number]) for layer in snapshots.layers}
        field = fields.learned(positions)
        assert field.radius == pytest.approx(radius, abs=0.005)
        for name, layer in active_layers(model).items():
            layer.positions.data.copy_(torch.from_numpy(positions[name]))
        given = images.clone().requires_grad_()
        model(given)
        last = seen.pop()
        assert last.shape[-2:] == (8, 8)
        (gradient,) = torch.autograd.grad(last[:, :, 4, 4].sum(), given)
        found = gradient.abs().sum(1)
        assert bool((found > 0).any())
        assert bool((found <= field.map * field.total * (1 + 1e-9)).all())
        # The first of the files is still on the grid.
        assert (field.radius == fields.fixed_grid().radius) == (number == 0)
