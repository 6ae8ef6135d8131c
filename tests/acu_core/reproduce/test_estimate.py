from __future__ import annotations

from acu_core.recipe.recipe_file import load_recipe
from acu_core.reproduce.estimate import measure_pace


def test_a_measured_pace() -> None:
    pace = measure_pace(load_recipe("cifar10-plain-acu", ["data.batch_size=2", "machine.device=cpu"]))
    assert pace is not None
    assert pace.source == "measured"
    assert pace.iteration > 0
    # 10,000 images forward cost more than two forward and backward.
    assert pace.evaluation > pace.iteration


def test_no_pace_where_the_sizes_are_unknown() -> None:
    assert measure_pace(load_recipe("planted", ["data.name=imagefolder", "machine.device=cpu"])) is None
