"""Reads recipes from TOML, with overrides, and writes the resolved recipe back."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from acu_core.errors import UserError
from acu_core.recipe.schema import Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_RECIPE = "planted"


def built_in_recipes() -> list[str]:
    """Names of the recipes that come with acu, the default first."""
    names = sorted(entry.name[: -len(".toml")] for entry in _folder().iterdir() if entry.name.endswith(".toml"))
    return sorted(names, key=lambda name: name != DEFAULT_RECIPE)


def built_in_text(name: str) -> str:
    """The text of a built-in recipe, comments included. Raises UserError for an unknown name."""
    if name not in built_in_recipes():
        raise UserError(_unknown_recipe(name))
    return _folder().joinpath(f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(name_or_path: str, overrides: Iterable[str] = ()) -> Recipe:
    """A built-in recipe by its name, or a TOML file, changed by overrides such as `schedule.iterations=500`.

    Raises UserError that names every unknown key and every wrong value, in the file and in the overrides together.
    """
    path = Path(name_or_path)
    if name_or_path in built_in_recipes():
        text, source = built_in_text(name_or_path), f"recipe {name_or_path}"
    elif path.suffix == ".toml" or path.exists():
        text, source = _read(path), str(path)
    else:
        raise UserError(_unknown_recipe(name_or_path))
    return parse_recipe(text, source, overrides)


def parse_recipe(text: str, source: str, overrides: Iterable[str] = ()) -> Recipe:
    """A recipe from its TOML text; `source` names it in errors. Raises UserError as `load_recipe` does."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source} is not TOML: {error}") from error
    problems = _apply(values, overrides)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems += dict.fromkeys(_sentence(problem) for problem in error.errors())
    if problems:
        raise UserError(f"{source} cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems))
    return recipe


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML, every key written out, so that a run does not depend on later defaults."""
    return tomli_w.dumps(recipe.model_dump(exclude_none=True))


def _folder() -> Path:
    # Not importlib.resources: the package holds compiled code, so it is always a plain folder.
    return Path(__file__).resolve().parent.parent / "recipes"


def _read(path: Path) -> str:
    # Asked first: opening a pipe waits for its writer.
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file, so it cannot be a recipe")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"there is no recipe at {path}; `acu recipes` lists the built-in ones") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a recipe: {error}") from error


def _unknown_recipe(name: str) -> str:
    names = built_in_recipes()
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}, or give a .toml file"
    return f"there is no recipe {name!r}: {hint}"


def _apply(values: dict[str, Any], overrides: Iterable[str]) -> list[str]:
    """Changes `values` in place; returns what is wrong with the overrides themselves."""
    problems = []
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problems.append(f"--set {override}: write it as table.key=value, for example schedule.iterations=500")
            continue
        table: Any = values
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                break
        if isinstance(table, dict):
            table[parts[-1]] = _value(text.strip())
        else:
            problems.append(f"--set {override}: {'.'.join(parts[:-1])} is not a table")
    return problems


def _value(text: str) -> Any:
    """The TOML value that `text` is, or the text itself, so that strings need no quotes within the shell's."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _sentence(problem: ErrorDetails) -> str:
    location = [str(part) for part in problem["loc"]]
    kind, value = problem["type"], problem.get("input")
    if "options" in location[:2]:
        # Pydantic reports each branch of a union as a problem of its own, with the branch in the location.
        known = location[:3]
        return f"{'.'.join(known)}: should be a number, a text, true or false, got {value!r}"
    known = location
    name = ".".join(known) or "recipe"
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(known[-1], _keys(known[:-1]), n=1)
        return f"{name}: unknown key" + (f"; did you mean {close[0]}?" if close else "")
    if kind == "missing":
        return f"{name}: missing"
    if kind == "value_error":
        return f"{name}: {problem['msg'].removeprefix('Value error, ')}"
    message = problem["msg"].removeprefix("Input ")
    return f"{name}: {message}, got {value!r}" if not isinstance(value, Mapping) else f"{name}: {message}"


def _keys(location: list[str]) -> list[str]:
    """The keys of the table at `location` in the schema."""
    model: Any = Recipe
    for part in location:
        field = model.model_fields.get(part)
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field is not None else []
        tables = [found for found in candidates if isinstance(found, type) and issubclass(found, BaseModel)]
        if not tables:
            return []
        model = tables[0]
    return list(model.model_fields)
