"""What is wrong with a recipe, in words: the full key, what it should be, the value in one line, the nearest key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from acu_core.recipe.known_keys import choice, fields
from acu_core.recipe.short_text import LONGEST, clipped, shown
from acu_core.recipe.table import NAMED, Table


def sentences(
    error: ValidationError, model: type[Table], values: Mapping[str, Any], before: tuple[str, ...] = ()
) -> list[str]:
    """One sentence a problem, in the order of the schema, for `values` that `model` has refused.

    `before` is the place in `model` of the table that the error is of.
    """
    problems = error.errors(include_url=False)
    return list(dict.fromkeys(_sentence(problem, before, model, values) for problem in problems))


def _sentence(problem: ErrorDetails, before: tuple[str, ...], model: type[Table], values: Mapping[str, Any]) -> str:
    location = [*before, *(str(part) for part in problem["loc"])]
    key, kind, value = clipped(".".join(location)) or "recipe", problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        return f"{key}: {_of_another(location, model, values) or 'unknown key' + _nearest(location, model, values)}"
    if kind == "missing":
        return f"{key}: missing"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key}: should be a table, got {shown(value)}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").replace(" after validation", "")
    if kind in ("too_short", "too_long"):
        message = message.removeprefix("List ")
    if kind == NAMED or value is None or isinstance(value, Mapping):
        return f"{key}: {message}"
    return f"{key}: {message}, got {shown(value)}"


def _of_another(location: Sequence[str], model: type[Table], values: Mapping[str, Any]) -> str:
    """What to say of a key that the table would have under another name: the rest of a recipe that was changed."""
    if len(location) != 2 or location[0] not in model.model_fields:
        return ""
    table, key = location
    chosen, value = choice(model.model_fields[table]), values.get(table)
    if chosen is None or not isinstance(value, Mapping):
        return ""
    name = value.get("name", chosen.table(value).model_fields["name"].default)
    others = [name for name in chosen.registry if key in chosen.table({"name": name}).model_fields]
    if not others:
        return ""
    return f"is of {' and '.join(others)}, not of {clipped(str(name))}: leave it out, or give the whole table"


def _nearest(location: Sequence[str], model: type[Table], values: Mapping[str, Any]) -> str:
    """The key that may have been meant: of the same name elsewhere, then alike in the same table, then elsewhere."""
    *table, last = location
    known = [key for key, *_ in fields(model, values)]
    leaves = {key: key.rpartition(".")[2] for key in known}
    before = "".join(f"{part}." for part in table)
    siblings = [leaf for key, leaf in leaves.items() if key == before + leaf]
    options = bool(table) and table[-1] == "options"
    same = [] if options else [key for key, leaf in leaves.items() if leaf == last]
    near = [before + leaf for leaf in difflib.get_close_matches(last[:LONGEST], siblings, n=1)]
    if not same and not near and not options:
        names = difflib.get_close_matches(last[:LONGEST], list(leaves.values()), n=1, cutoff=0.75)
        near = [key for key, leaf in leaves.items() if leaf in names]
    found = [*same, *near][:1]
    if found:
        return f"; did you mean {found[0]}?"
    if not options:
        return ""
    return f"; there are {', '.join(siblings)}" if siblings else f"; {before[:-1]} has none"
