from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models

from acu_core.errors import UserError
from acu_core.runs import RunDirectory, SnapshotFile, load_latest_checkpoint
from acu_core.train.recipe_file import load_recipe
from acu_core.train.stored_network import evaluate_run
from acu_core.train.training import resume, train


def test_a_pretrained_network_trains_and_needs_its_weights_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    images = {f"{part}_images": draw.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(8, dtype=np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "data.npz", **images, **labels)  # type: ignore[arg-type]
    weights = tmp_path / "squeezenet.pth"
    torch.manual_seed(7)
    stored = models.squeezenet1_1().state_dict()
    torch.save(stored, weights)
    recipe = load_recipe(
        "cifar10-plain-acu",
        [
            "network.name=torchvision:squeezenet1_1",
            f"network.options={{weights='{weights}', except_layers='features.0'}}",
            "optimizer.learning_rate=0.001",
            "machine.device=cpu",
            "machine.threads=1",
            "data.batch_size=4",
            "schedule.iterations=1",
            "schedule.warm_up=0",
            "schedule.divisions=[]",
        ],
    )
    run = tmp_path / "run"
    train(recipe, run, data_path=tmp_path / "data.npz")
    weights.unlink()
    checkpoint = load_latest_checkpoint(RunDirectory.open(run))
    assert checkpoint is not None
    started = stored["features.3.squeeze.weight"]
    trained = checkpoint.state["model"]["features.3.squeeze.weight"]
    assert not torch.equal(trained, started)
    assert torch.allclose(trained, started, atol=0.1)
    assert checkpoint.state["model"]["classifier.1.weight"].shape == (10, 512, 1, 1)

    assert evaluate_run(run).evaluation.images == 8
    resume(run, ["schedule.iterations=2"])
    snapshots = SnapshotFile(run / "positions.bin")
    assert snapshots.iterations.tolist() == [0, 1, 2]
    assert snapshots.layers[0].name == "features.3.expand3x3"

    with pytest.raises(UserError, match=r"squeezenet\.pth' is neither a file nor one of torchvision's"):
        train(recipe, tmp_path / "other", data_path=tmp_path / "data.npz")
    assert not (tmp_path / "other").exists()
