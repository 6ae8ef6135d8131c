"""A copy of a built-in recipe to be changed, which claims nothing that was said of the original."""

from __future__ import annotations

import re

from acu_core.recipe.recipe_file import built_in_text
from acu_core.recipe.table import LONGEST_NAME


def recipe_name(text: str) -> str:
    """The nearest thing to `text` that a recipe can be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-")[:LONGEST_NAME] or "recipe"


def copied_text(original: str, name: str) -> str:
    """The text of the built-in recipe `original` under another name, comments on its values included.

    Its header and its table [paper] stay behind: command, time and figures are those of the original, unchanged.
    Raises UserError for an unknown original.
    """
    _, _, body = built_in_text(original).partition("\n\n")
    body = re.sub(r"^name = .*$", f'name = "{name}"', body, count=1, flags=re.MULTILINE)
    body = re.sub(r"^description = .*$", f'description = "a copy of {original}"', body, count=1, flags=re.MULTILINE)
    body = re.sub(r"^\[paper\]\n(?:[^\[\n].*\n)*", "", body, flags=re.MULTILINE).rstrip("\n")
    return (
        f"# A copy of the built-in recipe {original}, to be changed. What the original's header says of\n"
        f"# its time, its result and its assumptions holds for the original only.\n\n{body}\n"
    )
