"""What of a recipe decides the training, and what may differ between two runs that are of one recipe all the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acu_core.recipe.schema import Recipe

# The seed, where runs are computed and lie, words, and what decides nothing of the training: how often it is evaluated
# and saved, what is averaged beside it, and what may follow it. What a parent was trained with is for its own recipe to
# say.
_FREE_TABLES = frozenset({"seed", "machine", "description", "paper", "compare_frozen", "round_and_finetune", "average"})
_FREE_KEYS = frozenset(
    {
        "data.path",
        "parent.run",
        "parent.checkpoint_sha256",
        "schedule.evaluate_every",
        "schedule.checkpoint_every",
        "schedule.keep",
        "schedule.keep_best",
    }
)
# Of tables that are free otherwise.
_DECIDING_KEYS = frozenset({"machine.precision"})


def settings(recipe: Recipe) -> dict[str, Any]:
    """The keys of a recipe that decide its training, but for the seed: "optimizer.learning_rate" and so on."""
    flat = _flat(recipe.model_dump(exclude_none=True))
    return {key: value for key, value in flat.items() if not is_free(key)}


def is_free(key: str) -> bool:
    """Whether runs that differ in this key alone are of one recipe."""
    return key not in _DECIDING_KEYS and (key.partition(".")[0] in _FREE_TABLES or key in _FREE_KEYS)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found
