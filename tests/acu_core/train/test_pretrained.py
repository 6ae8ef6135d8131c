from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models

from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight images in CIFAR-10's layout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    images = {f"{part}_images": draw.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(8, dtype=np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "data.npz", **images, **labels)  # type: ignore[arg-type]
    return tmp_path / "data.npz"


def one_step(name: str, options: str) -> Recipe:
    return load_recipe(
        "cifar10-plain-acu",
        [
            f"network.name=torchvision:{name}",
            f"network.options={{{options}}}",
            "optimizer.learning_rate=0.001",
            "machine.device=cpu",
            "machine.threads=1",
            "data.batch_size=4",
            "schedule.iterations=1",
            "schedule.warm_up=0",
            "schedule.divisions=[]",
        ],
    )


def test_a_pretrained_network_trains_and_needs_its_weights_only_once(data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "squeezenet.pth"
    torch.manual_seed(7)
    stored = models.squeezenet1_1().state_dict()
    torch.save(stored, weights)
    recipe = one_step("squeezenet1_1", f"weights='{weights}', except_layers='features.0'")
    run = tmp_path / "run"
    train(recipe, run, data_path=data)
    weights.unlink()
    checkpoint = load_latest_checkpoint(RunDirectory.open(run))
    assert checkpoint is not None
    started = stored["features.3.squeeze.weight"]
    trained = checkpoint.model["features.3.squeeze.weight"]
    assert not torch.equal(trained, started)
    assert torch.allclose(trained, started, atol=0.1)
    assert checkpoint.model["classifier.1.weight"].shape == (10, 512, 1, 1)

    assert evaluate_run(run).evaluation.images == 8
    resume(run, ["schedule.iterations=2"])
    snapshots = SnapshotFile(run / "positions.bin")
    assert snapshots.iterations.tolist() == [0, 1, 2]
    assert snapshots.layers[0].name == "features.3.expand3x3"

    with pytest.raises(UserError, match=r"squeezenet\.pth' is neither a file nor one of torchvision's"):
        train(recipe, tmp_path / "other", data_path=data)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("pretrained", [True, False])
def test_pretrained_statistics_are_averaged_on(pretrained: bool, data: Path, tmp_path: Path) -> None:
    weights, norm = tmp_path / "mobilenet.pth", "features.0.1.running_mean"
    state = models.mobilenet_v3_small().state_dict()
    state[norm].fill_(5.0)
    torch.save(state, weights)
    recipe = one_step("mobilenet_v3_small", f"weights='{weights}'" if pretrained else "")
    train(recipe, tmp_path / "run", data_path=data)
    checkpoint = load_latest_checkpoint(RunDirectory.open(tmp_path / "run"))
    assert checkpoint is not None
    mean = checkpoint.model[norm]
    if pretrained:
        assert (mean - 5).abs().max() < 0.1, "one batch has a weight of 0.001"
        assert not torch.equal(mean, state[norm])
    else:
        # Else the first batch has all the weight: nothing is left of what the statistics were.
        assert mean.abs().max() < 4
