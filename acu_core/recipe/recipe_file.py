"""Reads recipes from TOML, with overrides, and writes the resolved recipe back."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from acu_core.errors import Action, Remedy, UserError
from acu_core.recipe.overrides import apply_overrides
from acu_core.recipe.problems import sentences
from acu_core.recipe.schema import Recipe
from acu_core.recipe.short_text import clipped

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_RECIPE = "planted"
MOST_PROBLEMS = 20
"""Listed in one error; a file that is no recipe at all has many."""


def built_in_recipes() -> list[str]:
    """Names of the recipes that come with acu, the default first."""
    names = sorted(entry.name[: -len(".toml")] for entry in _folder().iterdir() if entry.name.endswith(".toml"))
    return sorted(names, key=lambda name: name != DEFAULT_RECIPE)


def built_in_text(name: str) -> str:
    """The text of a built-in recipe, comments included. Raises UserError for an unknown name."""
    if name not in built_in_recipes():
        raise _unknown_recipe(name)
    return _folder().joinpath(f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(name_or_path: str, overrides: Iterable[str] = ()) -> Recipe:
    """A built-in recipe by its name, or a TOML file, changed by overrides such as `schedule.iterations=500`.

    Everything that can be known without the data and the machine is checked, and needs no PyTorch. Raises UserError
    that names every unknown key and every wrong value, in the file and in the overrides together.
    """
    return parse_recipe(*_text_and_source(name_or_path), overrides)


def recipe_values(name_or_path: str) -> dict[str, Any]:
    """What a built-in recipe or a TOML file says, unchecked. Raises UserError where it cannot be read."""
    return _parsed(*_text_and_source(name_or_path))


def parse_recipe(text: str, source: str, overrides: Iterable[str] = ()) -> Recipe:
    """A recipe from its TOML text; `source` names it in errors. Raises UserError as `load_recipe` does."""
    values = _parsed(text, source)
    problems = apply_overrides(values, overrides)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems += sentences(error, Recipe, values)
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [f"and {len(problems) - MOST_PROBLEMS} more"]
    if len(problems) == 1:
        raise UserError(f"{source} cannot be used: {problems[0]}")
    if problems:
        raise UserError(f"{source} cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems))
    return recipe


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML, every key written out, so that a run does not depend on later defaults."""
    return tomli_w.dumps(recipe.model_dump(exclude_none=True))


def _text_and_source(name_or_path: str) -> tuple[str, str]:
    if name_or_path in built_in_recipes():
        return built_in_text(name_or_path), f"recipe {name_or_path}"
    if name_or_path.endswith(".toml") or _exists(name_or_path):
        return _read(Path(name_or_path)), name_or_path
    raise _unknown_recipe(name_or_path)


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise UserError(f"{source} is nested too deeply for a recipe") from error
    except ValueError as error:
        # TOMLDecodeError is one, and so is what Python says of a whole number of thousands of digits.
        raise UserError(f"{source} is not TOML: {error}") from error
    return values


def _folder() -> Path:
    # Not importlib.resources: the package holds compiled code, so it is always a plain folder.
    return Path(__file__).resolve().parent.parent / "recipes"


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        # A name that no file can have, too long a one for example.
        return False


def _read(path: Path) -> str:
    # Asked first: opening a pipe waits for its writer.
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file, so it cannot be a recipe")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"there is no recipe at {path}", Remedy(Action.LIST_RECIPES)) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read as a recipe: it is not UTF-8 text") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{clipped(str(path))} cannot be read as a recipe: {error}") from error


def _unknown_recipe(name: str) -> UserError:
    names = built_in_recipes()
    close = difflib.get_close_matches(name[:100], names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}, or give a .toml file"
    return UserError(f"there is no recipe '{clipped(name)}': {hint}")
