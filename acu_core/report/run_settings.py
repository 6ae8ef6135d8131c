"""What decided a training: its recipe, the data that were read, and its parent, which two runs of one recipe share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acu_core.errors import UserError
from acu_core.recipe.deciding_settings import settings
from acu_core.recipe.recipe_file import parse_recipe
from acu_core.recipe.schema import Parent, Recipe
from acu_core.runs.conditions import DATA, conditions, shared_fingerprint
from acu_core.runs.regular_file import open_regular
from acu_core.runs.run_directory import RunDirectory

DATA_KEY = "data.fingerprint"
"""The setting that tells data sets of one name apart: a few digits of their hash."""
PARENT = "parent."
UNKNOWN_PARENT = "parent.unknown"
"""The setting that keeps a run by itself: the path and checkpoint of a parent whose own settings are not known."""
_FINGERPRINT_DIGITS = 12
# A parent was fine-tuned itself at most so often; recipes that name each other in a circle end here.
_MOST_PARENTS = 8


class ParentGoneError(Exception):
    """Says in a phrase why it is not known what a parent was trained with."""


def own_settings(recipe: Recipe, environment: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe and its data, without its parent's."""
    fingerprint = conditions(environment)[DATA]
    # Made-up data are another set for every seed.
    if recipe.data.is_made or fingerprint is None:
        return settings(recipe)
    digest = hashlib.sha256(json.dumps(shared_fingerprint(fingerprint), sort_keys=True).encode()).hexdigest()
    return {**settings(recipe), DATA_KEY: digest[:_FINGERPRINT_DIGITS]}


def parent_settings(path: Path, recipe: Recipe, depth: int = 1) -> dict[str, Any]:
    """The settings of the parent of the run at `path`, each as `parent.` and its key; none where it has no parent.

    A parent that was moved together with the run is found beside it. Raises ParentGoneError.
    """
    parent = recipe.parent
    if parent is None:
        return {}
    if depth > _MOST_PARENTS:
        raise ParentGoneError(f"more than {_MOST_PARENTS} parents follow each other")
    named = Path(parent.run)
    where = _find(named, path.parent / named.name, parent)
    try:
        run = RunDirectory.open(where)
        theirs = parse_recipe(run.recipe_toml, str(where / "recipe.toml"))
        own = own_settings(theirs, run.environment)
    except UserError as error:
        raise ParentGoneError(f"{where} cannot be read") from error
    if theirs.seed != recipe.seed:
        raise ParentGoneError(f"{where} has another seed now")
    found = {**own, **parent_settings(where, theirs, depth + 1)}
    # How long it was trained the child says: it may have been extended since.
    found.pop("schedule.iterations", None)
    return {f"{PARENT}{key}": value for key, value in found.items()}


def _find(named: Path, beside: Path, parent: Parent) -> Path:
    is_there = (named / "recipe.toml").is_file()
    if is_there and _same_checkpoint(named, parent) is not False:
        return named
    if _same_checkpoint(beside, parent):
        return beside
    raise ParentGoneError(f"{named} is {'another run now' if is_there else 'not there'}")


def _same_checkpoint(run: Path, parent: Parent) -> bool | None:
    """Whether the checkpoint that was rounded is the one that is there; None where none of that iteration is."""
    path = RunDirectory(run).checkpoints / f"{parent.iteration:08d}.pt"
    try:
        with open_regular(path) as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except (OSError, UserError):
        return None
    return digest.hexdigest() == parent.checkpoint_sha256
