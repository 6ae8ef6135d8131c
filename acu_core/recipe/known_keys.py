"""All keys that a recipe can have, and the values of those that have only a few."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from acu_core.recipe.registry import Chosen
from acu_core.recipe.table import Table


def fields(model: type[Table], values: object, before: str = "") -> Iterator[tuple[str, FieldInfo, type[Table] | None]]:
    """Full key, field and table, if it is one, of all that `model` has, and of the tables in it.

    `values` is what is known of the recipe: where a name chooses a table, as of a network, it chooses the keys.
    """
    for name, field in model.model_fields.items():
        value = values.get(name) if isinstance(values, Mapping) else None
        inner = _table(field, value)
        yield before + name, field, inner
        if inner is not None:
            yield from fields(inner, value, f"{before}{name}.")


def choice(field: FieldInfo) -> Chosen[Any] | None:
    """What chooses the class of a table by its name; None for a field that is always of one kind."""
    functions = [entry.func for entry in field.metadata if isinstance(entry, BeforeValidator)]
    return next((function for function in functions if isinstance(function, Chosen)), None)


def settable_keys(model: type[Table], values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The full keys of single values, each with the values that it may have where these are few."""
    found: dict[str, tuple[str, ...]] = {}
    for key, field, table in fields(model, values):
        if table is None:
            found.setdefault(key, _values(field.annotation))
        elif (names := _names(field)) is not None:
            found[f"{key}.name"] = names
    return found


def _names(field: FieldInfo) -> tuple[str, ...] | None:
    """What a registry has for the table, prefixes such as "torchvision:" included; None for a table of one kind."""
    chosen = choice(field)
    return None if chosen is None else tuple(chosen.registry)


def _values(annotation: Any) -> tuple[str, ...]:
    if annotation is bool:
        return ("true", "false")
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return tuple(str(argument) for argument in arguments)
    if origin is Annotated:
        return _values(arguments[0])
    if origin in (Union, types.UnionType):
        return tuple(value for argument in arguments for value in _values(argument))
    return ()


def _table(field: FieldInfo, value: object) -> type[Table] | None:
    chosen = choice(field)
    if chosen is not None:
        table: type[Table] = chosen.table(value)
        return table
    candidates = [field.annotation, *get_args(field.annotation)]
    return next((found for found in candidates if isinstance(found, type) and issubclass(found, Table)), None)
