"""A training that cannot be begun leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import train
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe

SHORT = (
    "data.batch_size=4",
    "machine.threads=1",
    "machine.device=cpu",
    "schedule={iterations=1}",
    "round_and_finetune={iterations=1, learning_rate=0.1}",
)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight images of 32 x 32 in CIFAR-10's layout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    pixels = {f"{part}_images": draw.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(8, dtype=np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "data.npz", **pixels, **labels)  # type: ignore[arg-type]
    return tmp_path / "data.npz"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            ["network.name=alexnet", "network.options={hidden=4}"],
            r"alexnet cannot be trained on images of \(3, 32, 32",
        ),
        (["data.crop_padding=32"], "reflection by 32 pixels does not fit images of 32 x 32"),
    ],
)
def test_what_does_not_fit_leaves_no_run_and_the_next_try_goes(
    images: Path, tmp_path: Path, changes: list[str], expected: str
) -> None:
    recipe = load_recipe("cifar10-plain-acu", [*SHORT, *changes])
    with pytest.raises(UserError, match=expected) as caught:
        train(recipe, tmp_path / "run", data_path=images)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    small: Recipe = load_recipe("cifar10-plain-acu", [*SHORT, "network.name=residual", "network.options={blocks=1}"])
    assert train(small, tmp_path / "run", data_path=images).finished


def test_torchvision_on_images_of_two_channels(tmp_path: Path) -> None:
    changes = [
        "network.name=torchvision:resnet18",
        "data.options={train_count=8, test_count=4}",
        "compare_frozen=false",
    ]
    with pytest.raises(UserError, match="resnet18 takes images of 3 channels, not of 2"):
        train(load_recipe("planted", [*SHORT, *changes]), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
