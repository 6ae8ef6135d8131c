from __future__ import annotations

from pathlib import Path

import pytest

from acu_core.experiments.frozen_twin import train
from acu_core.recipe.recipe_file import load_recipe


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_default_recipe_finds_the_hidden_shape(tmp_path: Path, seed: int) -> None:
    recipe = load_recipe("planted", ["machine.device=cpu", "schedule.evaluate_every=0", f"seed={seed}"])
    report = train(recipe, tmp_path / "run")
    assert report.recovery is not None
    assert report.evaluation is not None
    assert report.frozen is not None
    # It starts 2 px away.
    assert report.recovery.median_distance <= 0.15
    assert report.recovery.near >= 7
    assert report.evaluation.accuracy >= 0.93
    assert report.evaluation.accuracy >= report.frozen.accuracy + 0.20
