from __future__ import annotations

from pathlib import Path

from acu_core.train.recipe_file import load_recipe
from acu_core.train.training import train


def test_the_hidden_shape_is_found(tmp_path: Path) -> None:
    # The default recipe, shortened to what a test may take; the recipe itself gets nearer (see its header).
    recipe = load_recipe(
        "planted",
        [
            "machine.device=cpu",
            "schedule.iterations=500",
            "schedule.warm_up=50",
            "schedule.divisions=[250, 400]",
            "schedule.evaluate_every=0",
            "data.options={train_count=10000, test_count=1000}",
        ],
    )
    report = train(recipe, tmp_path / "run")
    assert report.recovery is not None
    assert report.evaluation is not None
    assert report.frozen is not None
    # It starts 2 px away.
    assert report.recovery.median_distance < 0.35
    assert report.recovery.near >= 5
    assert report.evaluation.accuracy > 0.82
    assert report.evaluation.accuracy > report.frozen.accuracy + 0.15
