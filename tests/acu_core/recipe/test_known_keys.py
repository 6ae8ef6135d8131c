"""The keys that a recipe can have, and the values of those that have few."""

from __future__ import annotations

import pytest

from acu_core.recipe.known_keys import settable_keys
from acu_core.recipe.recipe_file import built_in_recipes, load_recipe, recipe_values
from acu_core.recipe.registry import DATA_SETS, NETWORKS
from acu_core.recipe.schema import Recipe


@pytest.mark.parametrize("name", built_in_recipes())
def test_every_value_that_a_recipe_has_is_under_a_known_key(name: str) -> None:
    recipe = load_recipe(name)
    known = settable_keys(Recipe, recipe_values(name))

    def look(values: dict[str, object], before: str = "") -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                look(value, f"{before}{key}.")
            else:
                assert before + key in known

    look(recipe.model_dump(exclude_none=True))


def test_values_of_literals_booleans_and_names() -> None:
    known = settable_keys(Recipe, recipe_values("planted"))
    assert known["compare_frozen"] == ("true", "false")
    assert known["machine.memory_format"] == ("contiguous", "channels_last")
    assert known["network.unit"] == ("acu", "convolution")
    assert known["network.name"] == tuple(NETWORKS)
    assert known["data.name"] == tuple(DATA_SETS)
    assert known["schedule.iterations"] == ()
    for key in ("compare_frozen", "machine.memory_format", "network.unit"):
        for value in known[key]:
            load_recipe("planted", ["compare_frozen=false", f"{key}={value}"])


def test_a_name_chooses_the_options() -> None:
    planted = settable_keys(Recipe, {"network": {"name": "planted"}})
    assert "network.options.width" in planted
    assert "network.options.last_kernel" not in planted
    plain = settable_keys(Recipe, {"network": {"name": "plain"}})
    assert "network.options.last_kernel" in plain
    assert "network.options.blocks" not in plain
    assert "network.unit" in settable_keys(Recipe, {"network": {"name": "nobody"}, "schedule": 3})
