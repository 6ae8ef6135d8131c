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

from acu_core.caffe import import_caffe
from acu_core.data import DataSet, load_data_set
from acu_core.nn import active_layers, build_network
from acu_core.op import active_conv2d_reference
from acu_core.op.library import has_kernel
from acu_core.runs import RunDirectory, SnapshotFile, load_checkpoint
from acu_core.train.evaluation import evaluate_network

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


# Published by the authors: 7.42 % at iteration 50,000. Two images more or less are rounding.
@pytest.mark.parametrize(("iteration", "errors"), [(50_000, 742), (10_000, 1832)])
def test_the_errors_are_the_authors(run: RunDirectory, data: DataSet, iteration: int, errors: int) -> None:
    model = build_network("plain", in_channels=3, classes=10).eval()
    model.load_state_dict(load_checkpoint(run, iteration).state["model"])
    model = model.to(memory_format=torch.channels_last)
    found = evaluate_network(model, data, batch_size=100, memory_format="channels_last")
    assert found.images == 10_000
    assert abs(found.errors - errors) <= 2

    # All 10,000 take the reference minutes: where each logit is the same, so are the errors.
    images = next(iter(data.test_batches(300)))[0].contiguous(memory_format=torch.channels_last)
    calls = []

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(arguments)
        return active_conv2d_reference(*arguments)

    with torch.no_grad():
        compiled = model(images)
        for layer in active_layers(model).values():
            layer.operator = counted
        reference = model(images)
    # Not by unequal bits: at iteration 10,000 every synapse is on a pixel, and both add in the same order.
    assert has_kernel("cpu")
    assert len(calls) == 6
    assert (compiled - reference).abs().max() < 1e-3
    assert torch.equal(compiled.argmax(1), reference.argmax(1))


def test_the_warm_up_is_seen(run: RunDirectory) -> None:
    snapshots = SnapshotFile(run.positions)
    at = snapshots.iterations.tolist()
    for layer in snapshots.layers:
        positions = snapshots.positions(layer.name)
        before, after = positions[at.index(10_000)], positions[at.index(50_000)]
        assert (before == np.round(before)).all()
        assert (after[:, 4] == 0).all()
        assert (after != np.round(after)).sum() == 16
