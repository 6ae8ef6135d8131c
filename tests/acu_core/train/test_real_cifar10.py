"""The whole way on the real CIFAR-10. Runs when ACU_TEST_CIFAR10 names an .npz file of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from acu_core.data import InMemoryData, load_data_set
from acu_core.experiments.frozen_twin import train
from acu_core.recipe.recipe_file import load_recipe
from acu_core.runs import SnapshotFile, read_log

pytestmark = pytest.mark.skipif(
    "ACU_TEST_CIFAR10" not in os.environ, reason="ACU_TEST_CIFAR10 does not name an .npz file of the real CIFAR-10"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "acu"


def test_the_images_are_contrast_normalised_and_whitened(cache: Path) -> None:
    data = load_data_set("cifar10", path=Path(os.environ["ACU_TEST_CIFAR10"]), cache=cache)
    assert isinstance(data, InMemoryData)
    assert data.train_images.shape == (50_000, 3, 32, 32)
    assert data.test_images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(data.train_labels).tolist() == [5_000] * 10
    assert torch.bincount(data.test_labels).tolist() == [1_000] * 10
    flat = data.train_images.flatten(1)
    assert flat.mean(0).abs().max() < 1e-4
    # Whitened: an eigenvalue v of the covariance becomes v / (v + 0.1), below 1 and close to it for the largest;
    # contrast normalisation subtracted each image's mean, so one direction is empty.
    values = torch.linalg.eigvalsh((flat.T @ flat / len(flat)).double())
    assert 0.999 < values.max() < 1.001
    assert values.min().abs() < 1e-4


def test_a_short_training_learns_and_moves_the_shapes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    recipe = load_recipe(
        "cifar10-plain-acu",
        [
            "machine.device=cpu",
            "schedule.iterations=60",
            "schedule.warm_up=30",
            "schedule.divisions=[]",
            "schedule.evaluate_every=0",
            "schedule.checkpoint_every=30",
        ],
    )
    report = train(recipe, tmp_path / "run", data_path=Path(os.environ["ACU_TEST_CIFAR10"]))
    assert report.evaluation is not None
    assert report.evaluation.images == 10_000
    assert report.evaluation.accuracy > 0.15
    losses = [entry["loss"] for entry in read_log(tmp_path / "run" / "metrics.jsonl") if "loss" in entry]
    assert len(losses) == 60
    assert sum(losses[-10:]) < sum(losses[:10])
    recorded = SnapshotFile(tmp_path / "run" / "positions.bin")
    assert len(recorded) == 61
    for layer in recorded.layers:
        positions = recorded.positions(layer.name)
        assert (positions[30] == positions[0]).all()
        assert (positions[60] != positions[0]).any()
