"""The data sets, networks, optimizers and schedules that a recipe can name: one line each."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from acu_core.errors import UserError
from acu_core.recipe.data_table import DataTable
from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.optimizer_table import OptimizerTable
from acu_core.recipe.plugins import load_plugins
from acu_core.recipe.schedule_table import ScheduleTable
from acu_core.recipe.short_text import shown
from acu_core.recipe.table import NAMED, Table, custom, listed

TableType = TypeVar("TableType", bound=Table)


def imported(place: str) -> Any:
    """What "module:name" names, imported now. Raises UserError when it cannot be."""
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{place} cannot be imported: {error}") from error


class Registry(Generic[TableType]):
    """Classes of tables by the name that a recipe gives, each as "module:Class" and imported when it is first named.

    A name that ends with a colon stands for all names that begin with it.
    """

    def __init__(self, noun: str, base: type[TableType], places: Mapping[str, str]) -> None:
        self.noun = noun
        self.base = base
        self._places = dict(places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def register(self, name: str, place: str) -> None:
        """Adds `name`, whose table is the class at `place`, "module:Class", a subclass of `base`.

        Raises ValueError when the name is another one's already.
        """
        if self._places.setdefault(name, place) != place:
            raise ValueError(f"the {self.noun} {name} is {self._places[name]} already, it cannot be {place} too")

    def find(self, name: object) -> type[TableType] | None:
        """The class of the table of `name`; None where there is none, in no plugin either.

        Raises UserError when the class cannot be imported.
        """
        if not isinstance(name, str):
            return None
        place = self._place(name)
        if place is None:
            load_plugins()
            place = self._place(name)
        if place is None:
            return None
        found = imported(place)
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise TypeError(f"{place}, registered as the {self.noun} {name}, is no subclass of {self.base.__name__}")
        return found

    def unknown(self, name: str) -> str:
        """The sentence for a name that nobody has."""
        near = difflib.get_close_matches(name[:100], self, 1)
        known = ", ".join(f"{known}NAME" if known.endswith(":") else known for known in self)
        advice = f"did you mean {near[0]}?" if near else f"known: {known}"
        failures = "".join(f"{failure}; " for failure in load_plugins())
        return f"{failures}there is no {self.noun} {shown(name)}; {advice}"

    def _place(self, name: str) -> str | None:
        before, colon, _ = name.partition(":")
        return self._places.get(name) or self._places.get(before + colon if colon else "")


class Chosen(Generic[TableType]):
    """Validates a table as the class that its key `name` chooses: a union that grows with the registry."""

    def __init__(self, registry: Registry[TableType]) -> None:
        self.registry = registry

    def table(self, value: object) -> type[TableType]:
        """The class for `value`; where its name is unknown or it cannot be imported, what all have in common."""
        found = None
        if isinstance(value, Mapping):
            with suppress(UserError):
                found = self.registry.find(self._name(value))
        return found or self.registry.base

    def __call__(self, value: object) -> object:
        """The table of `value`; anything but a mapping is left to pydantic. Raises its error, relative to the table."""
        if not isinstance(value, Mapping):
            return value
        name = self._name(value)
        chosen = self.registry.find(name)
        if chosen is not None:
            return chosen.model_validate(value)
        errors: list[InitErrorDetails] = []
        if isinstance(name, str):
            errors.append(InitErrorDetails(type=custom(self.registry.unknown(name), NAMED), loc=("name",), input=name))
        try:
            self.registry.base.model_validate({key: part for key, part in value.items() if key != "options"})
        except ValidationError as error:
            # Which further keys there may be, only the right name would tell.
            errors += [
                InitErrorDetails(type=custom(found["msg"], found["type"]), loc=found["loc"], input=found["input"])
                for found in error.errors()
                if found["type"] != "extra_forbidden"
            ]
        raise listed(errors)

    def _name(self, value: Mapping[str, Any]) -> Any:
        field = self.registry.base.model_fields["name"]
        return value.get("name", None if field.is_required() else field.default)


_TABLES = "acu_core.recipe"

DATA_SETS = Registry(
    "data set",
    DataTable,
    {
        "planted": f"{_TABLES}.data_sets.planted:PlantedData",
        "cifar10": f"{_TABLES}.data_sets.cifar:CifarData",
        "cifar100": f"{_TABLES}.data_sets.cifar:CifarData",
        "fashion-mnist": f"{_TABLES}.data_sets.fashion_mnist:FashionMnistData",
        "imagefolder": f"{_TABLES}.data_sets.image_folder:ImageFolderData",
        "places365": f"{_TABLES}.data_sets.places365:Places365Data",
    },
)
NETWORKS = Registry(
    "network",
    NetworkTable,
    {
        "plain": f"{_TABLES}.networks.plain:PlainNetwork",
        "residual": f"{_TABLES}.networks.residual:ResidualNetwork",
        "alexnet": f"{_TABLES}.networks.alexnet:AlexNetNetwork",
        "resnet26": f"{_TABLES}.networks.resnet26:ResNet26Network",
        "planted": f"{_TABLES}.networks.planted:PlantedNetwork",
        "torchvision:": f"{_TABLES}.networks.torchvision:TorchvisionNetwork",
        "timm:": f"{_TABLES}.networks.timm:TimmNetwork",
    },
)
OPTIMIZERS = Registry(
    "optimizer",
    OptimizerTable,
    {"sgd": f"{_TABLES}.optimizers.sgd:Sgd", "adamw": f"{_TABLES}.optimizers.adamw:AdamW"},
)
SCHEDULES = Registry(
    "schedule",
    ScheduleTable,
    {
        "steps": f"{_TABLES}.schedules.steps:StepsSchedule",
        "cosine": f"{_TABLES}.schedules.cosine:CosineSchedule",
    },
)
