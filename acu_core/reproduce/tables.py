"""The tables of the paper, row by row, and those for laptops that ask the same.

What the paper reports for a row stands in the row's recipe, in its table [paper].
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from acu_core.errors import UserError


@dataclass(frozen=True)
class Row:
    """A row of a table, and the recipe that is trained for it."""

    name: str
    recipe: str
    base: str | None = None
    """The recipe that it is compared with, in a table that the paper does not have."""


@dataclass(frozen=True)
class Table:
    """A table, its rows in the paper's order. A row's base stands above it."""

    name: str
    title: str
    rows: tuple[Row, ...]
    of_paper: bool = True


def _networks(data: str, networks: dict[str, str]) -> tuple[Row, ...]:
    return tuple(
        Row(f"{title}, {unit}", f"{data}-{network}-{unit.lower()}")
        for network, title in networks.items()
        for unit in ("Base", "ACU")
    )


def _small(name: str, title: str, data: str) -> Table:
    """Do learned shapes help? Do shapes that are merely different? And what is left of them on the grid?"""
    base = f"{data}-small-base"
    return Table(
        name,
        f"{title}: the plain network at half its width, a twentieth of its schedule",
        (
            Row("Base", base),
            Row("ACU, random shapes, frozen", f"{data}-small-acu-random", base),
            Row("ACU", f"{data}-small-acu", base),
            Row("ACU-Round", f"{data}-small-acu-round", base),
        ),
        of_paper=False,
    )


_CIFAR = {"plain": "Plain", "residual": "Residual"}
TABLES = {
    table.name: table
    for table in (
        Table("cifar10", "CIFAR-10", _networks("cifar10", _CIFAR)),
        Table("cifar100", "CIFAR-100", _networks("cifar100", _CIFAR)),
        Table(
            "ablation",
            "Ablation: the plain network on CIFAR-10",
            (
                Row("Base", "cifar10-plain-base"),
                Row("Base-D2", "cifar10-plain-base-d2"),
                Row("ACU-Round", "cifar10-plain-acu-round"),
                Row("ACU-C23", "cifar10-plain-acu-c23"),
                Row("ACU-all", "cifar10-plain-acu"),
                Row("Base-F5", "cifar10-plain-base-f5"),
                Row("ACU-F5", "cifar10-plain-acu-f5"),
            ),
        ),
        Table("places365", "Places365", _networks("places365", {"alexnet": "AlexNet", "resnet26": "ResNet26"})),
        _small("small", "CIFAR-10", "cifar10"),
        _small("small-fashion", "Fashion-MNIST", "fashion-mnist"),
    )
}


def find_table(name: str) -> Table:
    """The table called `name`. Raises UserError for an unknown name."""
    if name in TABLES:
        return TABLES[name]
    close = difflib.get_close_matches(name, TABLES, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(TABLES)}"
    raise UserError(f"there is no table {name!r}: {hint}")
