"""Networks of timm are trained, resumed, rounded and exported like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.rounding import round_and_finetune
from acu_core.export.exported_run import export_run
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.runs.snapshot_file import SnapshotFile


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images in CIFAR-10's layout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    images = {f"{part}_images": draw.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(16, dtype=np.uint8) % 10 for part in ("train", "test")}
    np.savez(tmp_path / "data.npz", **images, **labels)  # type: ignore[arg-type]
    return tmp_path / "data.npz"


def recipe_of(name: str, iterations: int) -> Recipe:
    return load_recipe(
        "cifar10-plain-acu",
        [
            f"network.name=timm:{name}",
            "network.options={}",
            "optimizer.learning_rate=0.001",
            "optimizer.weight_decay=0.0001",
            "machine.device=cpu",
            "machine.threads=1",
            "data.batch_size=8",
            f"schedule.iterations={iterations}",
            "schedule.warm_up=1",
            "schedule.divisions=[]",
        ],
    )


# Weights that are standardised, and padding by the size of the image.
@pytest.mark.parametrize("name", ["test_nfnet", "tf_mobilenetv3_small_minimal_100"])
def test_a_network_of_timm_goes_all_the_way(name: str, data: Path, tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    train(recipe_of(name, 2), run, data_path=data)
    resume(run, ["schedule.iterations=4"])
    train(recipe_of(name, 4), whole, data_path=data)
    assert (run / "positions.bin").read_bytes() == (whole / "positions.bin").read_bytes()
    snapshots = SnapshotFile(run / "positions.bin")
    assert snapshots.iterations.tolist() == [0, 1, 2, 3, 4]
    for layer in snapshots.layers:
        positions = snapshots.positions(layer.name)
        assert np.array_equal(positions[0], positions[1]), f"{layer.name} moved in the warm-up"
        assert not np.array_equal(positions[1], positions[-1]), f"{layer.name} never moved"

    for suffix in (".safetensors", ".pt2"):
        report = export_run(run, tmp_path / f"network{suffix}")
        assert report.comparison is not None
        # A network that has hardly learned has logits of thousands, so that rounding alone may refuse the file.
        assert report.comparison.largest_difference < 1e-4 * max(1, report.comparison.largest_logit)
    assert round_and_finetune(run, tmp_path / "rounded", iterations=1).finished


def test_images_that_a_model_is_not_built_for_leave_no_run(data: Path, tmp_path: Path) -> None:
    # timm asserts the size, and an assertion is no way to tell a user.
    with pytest.raises(UserError, match=r"timm:levit_128s cannot be trained on images of \(3, 32, 32\).*: ") as raised:
        train(recipe_of("levit_128s", 2), tmp_path / "run", data_path=data)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()
