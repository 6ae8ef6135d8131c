from __future__ import annotations

from pathlib import Path

import pytest

from acu_core.experiments.frozen_twin import train
from acu_core.recipe.recipe_file import load_recipe

TINY = (
    "name=tiny",
    "compare_frozen=false",
    "machine.threads=1",
    "machine.device=cpu",
    "data.batch_size=16",
    "data.options={train_count=200, test_count=60}",
    "data.evaluation_batch_size=25",
    "schedule.iterations=20",
    "schedule.warm_up=2",
    "schedule.divisions=[10]",
    "schedule.checkpoint_every=10",
    "optimizer.position_learning_rate_factor=0.5",
)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run whose synapses have left the grid, with checkpoints of iterations 10 and 20. Not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    train(load_recipe("planted", TINY), path)
    return path
