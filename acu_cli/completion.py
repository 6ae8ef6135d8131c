"""What the shell offers when Tab is pressed."""

from __future__ import annotations

import os
import re
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

    keys = settable_keys(Recipe, _typed_values(context))
    key, equals, value = incomplete.partition("=")
    if not equals:
        return [f"{known}=" for known in keys if known.startswith(key)]
    values = [known for known in keys.get(key, ()) if known.startswith(value)]
    return [_Rest(known) for known in values] if _value_only else [f"{key}={known}" for known in values]


def rejoin_words() -> None:
    """Undoes that bash takes "key=value" for three words; what is then offered replaces the last of them only."""
    global _value_only
    words, index = os.environ.get("COMP_WORDS", ""), os.environ.get("COMP_CWORD", "")
    if os.environ.get("_ACU_COMPLETE") != "complete_bash" or not index.isdecimal():
        return
    # Up to the cursor: bash joins its words by spaces.
    before = words.split(" ")[: int(index) + 1]
    joined = re.sub(r" = ?", "=", " ".join(before))
    _value_only = "=" in joined.rpartition(" ")[2] and "=" in before[-2:]
    os.environ["COMP_WORDS"] = joined
    os.environ["COMP_CWORD"] = str(len(joined.split(" ")) - 1)


def _typed_values(context: typer.Context) -> dict[str, Any]:
    from acu_core.errors import UserError
    from acu_core.recipe.overrides import apply_overrides
    from acu_core.recipe.recipe_file import DEFAULT_RECIPE, recipe_values

    # The option that still lacks its value leaves the arguments before it where they were.
    typed = [context.params.get("recipe"), *context.args, DEFAULT_RECIPE]
    try:
        values = recipe_values(next(name for name in typed if name))
    except UserError:
        # What is wrong with it is said when the command runs.
        values = {}
    apply_overrides(values, context.params.get("overrides") or ())
    return values
