"""Changes of single values, given as texts such as `schedule.iterations=500`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from acu_core.recipe.short_text import clipped

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEEPEST = 8
"""Tables in tables: recipes have three."""


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> list[str]:
    """Changes `values` in place, the later of two overrides last; returns what is wrong with the overrides."""
    problems = []
    for override in overrides:
        problem = _apply(values, override)
        if problem:
            problems.append(f"the override {clipped(override)}: {problem}")
    return problems


def _apply(values: dict[str, Any], override: str) -> str:
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        return "write it as table.key=value, for example schedule.iterations=500"
    if len(parts) > DEEPEST:
        return "a recipe has no key in so many tables"
    table: Any = values
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return f"{clipped('.'.join(parts[:-1]))} is not a table"
    try:
        table[parts[-1]] = _value(text.strip())
    except RecursionError:
        return "its value is nested too deeply"
    return ""


def _value(text: str) -> Any:
    """The TOML value that `text` is, or the text itself, so that strings need no quotes within the shell's."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except ValueError:
        # TOMLDecodeError is one, and so is what Python says of a whole number of thousands of digits.
        return text
    return parsed["value"] if len(parsed) == 1 else text
