from __future__ import annotations

import sys
from pathlib import Path

import pytest

from acu_cli.app import main
from acu_core.errors import UserError
from acu_core.recipe.recipe_copy import copied_text, recipe_name
from acu_core.recipe.recipe_file import built_in_recipes, built_in_text, load_recipe, parse_recipe


@pytest.mark.parametrize("name", built_in_recipes())
def test_a_copy_trains_the_same_and_claims_nothing(name: str) -> None:
    text = copied_text(name, "mine")
    recipe, original = parse_recipe(text, "mine.toml"), load_recipe(name)
    assert recipe == original.changed(name="mine", description=f"a copy of {name}", paper=None)
    header, _, body = text.partition("\n\n")
    assert f"A copy of the built-in recipe {name}," in header
    assert all(line.startswith("# ") for line in header.splitlines())
    for claim in ("expected", "the paper:", "command", "Jeon", "[paper]"):
        assert claim not in text
    # What is said of the values stays beside them.
    assert body.count("#") >= built_in_text(name).partition("\n\n")[2].count("#") - 1


def test_an_unknown_original_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean planted"):
        copied_text("plantd", "mine")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mine", "mine"),
        ("my recipe", "my-recipe"),
        ("été 2", "t-2"),
        ("..hidden", "hidden"),
        ("???", "recipe"),
        ("x" * 200, "x" * 100),
    ],
)
def test_the_name_is_the_nearest_that_a_recipe_can_have(text: str, name: str) -> None:
    assert recipe_name(text) == name
    assert parse_recipe(copied_text("planted", name), "it").name == name


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


def test_the_command_names_the_copy_after_its_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, "recipes", "copy", "cifar10-plain-acu", "my try.toml") == 0
    assert load_recipe("my try.toml").name == "my-try"
    assert acu(monkeypatch, "recipes", "copy", "cifar10-plain-acu") == 0
    assert load_recipe("cifar10-plain-acu.toml").paper is None
    assert acu(monkeypatch, "recipes", "copy", "planted", "nowhere/mine.toml") == 2
    assert "nowhere/mine.toml cannot be written: No such file" in capsys.readouterr().err
