"""In which keys two recipes differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from acu_core.recipe.schema import Recipe


def recipe_differences(ours: Recipe, theirs: Recipe, free: Collection[str]) -> list[tuple[str, Any, Any]]:
    """(full key, our value, their value) for each key whose values differ, None for an absent one.

    Keys in `free`, and those of a table in it, may differ.
    """
    flat = [_flat(recipe.model_dump(exclude_none=True)) for recipe in (ours, theirs)]
    keys = dict.fromkeys([*flat[0], *flat[1]])
    return [
        (key, flat[0].get(key), flat[1].get(key))
        for key in keys
        if key not in free and key.split(".")[0] not in free and flat[0].get(key) != flat[1].get(key)
    ]


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found
