"""What the shell offers when Tab is pressed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

_value_only = False


def recipe_names(incomplete: str) -> list[str]:
    """Built-in recipes that begin with what was typed; found by their files, as completion must be instant."""
    folder = Path(__file__).resolve().parent.parent / "acu_core" / "recipes"
    return sorted(path.stem for path in folder.glob("*.toml") if path.stem.startswith(incomplete))


def table_names(incomplete: str) -> list[str]:
    """Tables of the paper that begin with what was typed."""
    from acu_core.reproduce.tables import TABLES

    return [name for name in TABLES if name.startswith(incomplete)]


class _Rest(str):
    """What is offered in place of the last part of a word."""

    def startswith(self, *_: Any) -> bool:
        # Typer asks whether it begins with the whole word.
        return True


def set_keys(context: typer.Context, incomplete: str) -> list[str]:
    """Keys of the recipe with "=", or once that is typed the key's values, where it has only a few.

    They are those of the recipe that was typed before, with the changes that were, so that a network's options are its
    own.
    """
    from acu_core.recipe.known_keys import settable_keys
    from acu_core.recipe.schema import Recipe

    recipe = _typed_values(context)
    keys = settable_keys(Recipe, recipe)
    key, equals, value = incomplete.partition("=")
    if not equals:
        found = [f"{known}=" for known in keys if known.startswith(key)]
        return found if len(found) != 1 else _with_values(found[0], keys[found[0][:-1]], recipe)
    values = [known for known in keys.get(key, ()) if known.startswith(value)]
    return [_Rest(known) for known in values] if _value_only else [f"{key}={known}" for known in values]


def _with_values(key: str, values: tuple[str, ...], recipe: Any) -> list[str]:
    """The only key that fits, and its values or the one that it has: a shell puts a space after what stands alone."""
    if values:
        return [key + value for value in values]
    for part in key[:-1].split("."):
        recipe = recipe.get(part) if isinstance(recipe, dict) else None
    return [key, f"{key}{recipe}"] if isinstance(recipe, int | float) else [key]


def rejoin_words() -> None:
    """Undoes that bash takes "key=value" for three words; what is then offered replaces the last of them only."""
    global _value_only
    words, index = os.environ.get("COMP_WORDS", ""), os.environ.get("COMP_CWORD", "")
    if os.environ.get("_ACU_COMPLETE") != "complete_bash" or not index.isdecimal():
        return
    # Typer's script for bash puts a word on a line.
    between = "\n" if "\n" in words else " "
    typed = words.split(between)[: int(index) + 1]
    joined = between.join(typed).replace(f"{between}={between}", "=")
    if joined.endswith(f"{between}="):
        joined = joined.removesuffix(f"{between}=") + "="
    _value_only = "=" in typed[-2:]
    os.environ["COMP_WORDS"] = joined
    os.environ["COMP_CWORD"] = str(len(joined.split(between)) - 1)


def _typed_values(context: typer.Context) -> dict[str, Any]:
    from acu_core.errors import UserError
    from acu_core.recipe.overrides import apply_overrides
    from acu_core.recipe.recipe_file import DEFAULT_RECIPE, recipe_values

    # The option that still lacks its value leaves the arguments before it where they were.
    typed = [context.params.get("recipe"), *context.args, DEFAULT_RECIPE]
    try:
        values = recipe_values(next(name for name in typed if isinstance(name, str) and name))
    except UserError:
        # What is wrong with it is said when the command runs.
        values = {}
    apply_overrides(values, context.params.get("overrides") or ())
    return values
