"""What a sweep trains: each combination of some values of a recipe's keys, or a list of them. Needs no PyTorch."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.errors import UserError
from acu_core.recipe.deciding_settings import is_free
from acu_core.recipe.recipe_file import load_recipe, recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.recipe.short_text import clipped
from acu_core.reproduce.tables import Row

SWEEPS = Path("sweeps")
MOST_RUNS = 10_000
_LONGEST_FOLDER = 150
_DATA_PATH = "data.path"
_OPENING, _CLOSING, _QUOTES = "[{", "]}", "\"'"


@dataclass(frozen=True)
class Axis:
    """A key of the recipe and its values, each as it is written after `key=`."""

    key: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Axis:
        """That of `optimizer.learning_rate=0.1,0.05`. Commas within brackets and quotes separate no values.

        Raises UserError for what is none.
        """
        key, equals, values = text.partition("=")
        found = tuple(part.strip() for part in _parts(values))
        if not equals or not key.strip() or not all(found):
            raise UserError(
                f"{clipped(text)} names no values: write it as table.key=value,value, for example "
                "optimizer.learning_rate=0.1,0.05"
            )
        return cls(key.strip(), found)


@dataclass(frozen=True)
class SweepRequest:
    """What was asked for. `overrides` hold in every run; `in_step` takes the first values together, and so on."""

    recipe: str
    axes: tuple[Axis, ...]
    overrides: tuple[str, ...] = ()
    in_step: bool = False
    seeds: int = 1
    data: Path | None = None
    out: Path | None = None
    device: str | None = None
    download: bool = False
    jobs: int = 1

    @property
    def directory(self) -> Path:
        """Where its runs lie."""
        return self.out if self.out is not None else SWEEPS / Path(self.recipe).stem


def sweep_settings(request: SweepRequest) -> list[tuple[Row, Recipe]]:
    """The recipe with each setting, with seed 0; the row's `recipe` is what its directories are called.

    Raises UserError for a setting that no recipe can have.
    """
    if request.seeds < 1:
        raise UserError(f"at least one seed is needed, got {request.seeds}")
    if not request.axes:
        raise UserError("a sweep needs a key with several values, for example optimizer.learning_rate=0.1,0.05")
    rows: dict[str, tuple[Row, Recipe]] = {}
    known: set[str] = set()
    for point in _points(request):
        recipe = load_recipe(request.recipe, _overrides(request, point))
        _check(recipe)
        _check_axes(recipe, point)
        values = {key: _value(recipe, key, text) for key, text in point.items()}
        row = Row(_label(values), _folder(recipe.name, values))
        text = recipe_toml(recipe)
        if text in known:
            raise UserError(f"{row.name} is there twice: each setting must be another one")
        known.add(text)
        if row.recipe in rows:
            row = Row(row.name, f"{row.recipe}-{_hash(row.name)}")
        rows[row.recipe] = row, recipe
    return list(rows.values())


def _points(request: SweepRequest) -> list[dict[str, str]]:
    keys = [axis.key for axis in request.axes]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UserError(f"{clipped(twice)} is there twice: give all its values at once")
    fixed = {override.partition("=")[0].strip() for override in request.overrides}
    if "seed" in fixed.union(keys):
        raise UserError("a sweep has its own seeds 0, 1, ...: say how many, and leave the key seed out")
    if request.data is not None:
        fixed.add(_DATA_PATH)
    both = next((key for key in keys if key in fixed), None)
    if both is not None:
        raise UserError(f"{clipped(both)} cannot be fixed and swept at once")
    lengths = [len(axis.values) for axis in request.axes]
    if request.in_step and len(set(lengths)) > 1:
        counts = ", ".join(f"{clipped(axis.key)} has {len(axis.values)}" for axis in request.axes)
        raise UserError(f"a list needs as many values of every key: {counts}")
    runs = request.seeds * (lengths[0] if request.in_step else math.prod(lengths))
    if runs > MOST_RUNS:
        raise UserError(f"these are {runs:,} runs: a sweep has {MOST_RUNS:,} at most")
    values = [axis.values for axis in request.axes]
    combined = zip(*values, strict=True) if request.in_step else itertools.product(*values)
    return [dict(zip(keys, point, strict=True)) for point in combined]


def _overrides(request: SweepRequest, point: Mapping[str, str]) -> list[str]:
    device = [f"machine.device={json.dumps(request.device)}"] if request.device is not None else []
    # Twins with frozen positions are a setting like others here, or a sweep would not know how far it is.
    twins = "compare_frozen=false"
    return [twins, *request.overrides, *device, *(f"{key}={text}" for key, text in point.items()), "seed=0"]


def _check(recipe: Recipe) -> None:
    if recipe.compare_frozen:
        raise UserError("a sweep trains no frozen twins: sweep optimizer.freeze_positions=false,true instead")
    if recipe.start is not None:
        raise UserError(f"{recipe.name} goes on from a finished run of {recipe.start.recipe}: it cannot be swept")


def _check_axes(recipe: Recipe, keys: Iterable[str]) -> None:
    for key in keys:
        # What lies at a path decides, unless nothing is read from it.
        if is_free(key) and (key != _DATA_PATH or recipe.data.is_made):
            raise UserError(
                f"{clipped(key)} decides nothing that is compared, so runs that differ in it alone are of one recipe: "
                "it cannot be swept"
            )


def _value(recipe: Recipe, key: str, text: str) -> Any:
    """The value as the recipe has it, so that 0.1 and 0.10 are one; the text where the key is that of a table."""
    value: Any = recipe.model_dump(exclude_none=True)
    for part in key.split("."):
        value = value.get(part.strip()) if isinstance(value, Mapping) else None
    return text if value is None or isinstance(value, Mapping) else value


def _label(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _folder(name: str, values: Mapping[str, Any]) -> str:
    """The name of a setting's directories, without the seed: the last part of each key and its value."""
    short = "-".join([name, *(f"{key.rpartition('.')[2]}-{_text(value)}" for key, value in values.items())])
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", short)
    if safe == short and len(safe) <= _LONGEST_FOLDER:
        return safe
    # Two settings whose names become the same must not share a directory.
    return f"{safe[:_LONGEST_FOLDER]}-{_hash(_label(values))}"


def _hash(label: str) -> str:
    return hashlib.sha256(label.encode()).hexdigest()[:8]


def _parts(text: str) -> Sequence[str]:
    """`text` at its commas, but for those within brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        depth += 0 if quote else (character in _OPENING) - (character in _CLOSING)
        if character == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
