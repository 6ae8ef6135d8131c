from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.reproduce import plan
from acu_core.train import run_training


@pytest.fixture(scope="session")
def tiny_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's layout with 40 test images of 8x8 pixels: a run is trained in a second."""
    return _write(tmp_path_factory.mktemp("data") / "tiny.npz", 0)


@pytest.fixture(scope="session")
def other_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other images in the same layout."""
    return _write(tmp_path_factory.mktemp("data") / "other.npz", 1)


def _write(path: Path, seed: int) -> Path:
    draw = np.random.default_rng(seed)
    arrays = {}
    for part, count in (("train", 100), ("test", 40)):
        arrays[f"{part}_images"] = draw.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = draw.integers(0, 10, (count, 1), dtype=np.uint8)
    np.savez(path, **arrays)
    return path


def _small(name: str, overrides: Iterable[str] = ()) -> Recipe:
    return load_recipe(name, [*overrides, "data.batch_size=4", "machine.threads=1", "schedule.checkpoint_every=5"])


@pytest.fixture(scope="package", autouse=True)
def small_batches() -> Iterable[None]:
    """Recipes of tables with small batches, one thread and short blocks: a test can stop a run in its middle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "load_recipe", _small)
        patch.setattr(run_training, "BLOCK", 2)
        yield
