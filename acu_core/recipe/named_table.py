"""Tables that are made in Python, by name and options, with the errors that a recipe would have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError

from acu_core.errors import UserError
from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.problems import sentences
from acu_core.recipe.registry import NETWORKS, Registry, TableType
from acu_core.recipe.table import Table


def options_table(
    registry: Registry[TableType], name: str, options: Mapping[str, Any]
) -> tuple[type[TableType], Table]:
    """The class of the table of `name`, and its options, checked. Raises UserError that names what is wrong."""
    found = registry.find(name)
    if found is None:
        raise UserError(registry.unknown(name))
    try:
        table = cast("type[Table]", found.model_fields["options"].annotation).model_validate(dict(options))
    except ValidationError as error:
        problems = sentences(error, found, {"name": name, "options": options}, ("options",))
        raise UserError(f"the {registry.noun} {name} cannot be used: {'; '.join(problems)}") from error
    return found, table


def network_table(name: str, unit: str, options: Mapping[str, Any]) -> NetworkTable:
    """The table [network] with this name, unit and options. Raises UserError that names what is wrong."""
    found = NETWORKS.find(name)
    if found is None:
        raise UserError(NETWORKS.unknown(name))
    values = {"name": name, "unit": unit, "options": dict(options)}
    try:
        return found.model_validate(values)
    except ValidationError as error:
        problems = sentences(error, found, values)
        raise UserError(f"the network {name} cannot be used: {'; '.join(problems)}") from error
