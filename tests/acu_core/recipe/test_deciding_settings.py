from __future__ import annotations

from acu_core.recipe.deciding_settings import is_free, settings
from acu_core.recipe.recipe_file import load_recipe


def test_of_the_machine_only_the_precision_decides() -> None:
    changes = ["machine.threads=3", "machine.compile=true", "machine.device=cpu"]
    assert settings(load_recipe("planted", changes)) == settings(load_recipe("planted"))
    other = settings(load_recipe("planted", ["machine.precision=bfloat16"]))
    assert other == {**settings(load_recipe("planted")), "machine.precision": "bfloat16"}
    assert not is_free("machine.precision")
    assert is_free("machine.compile")
    assert is_free("machine.device")
