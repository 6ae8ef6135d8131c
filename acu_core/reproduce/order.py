"""An order to train one run of a series, here or in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.report import TrainingReport
from acu_core.experiments.rounding import round_and_finetune
from acu_core.learn.workplace import Workplace
from acu_core.recipe.recipe_file import parse_recipe, recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.train.events import Events


@dataclass(frozen=True)
class Order:
    """A run to train to its end: gone on with where it `exists`, started from the run `parent` where one is given.

    `threads` are those of a new run whose recipe leaves them open.
    """

    recipe: Recipe
    path: Path
    exists: bool
    parent: Path | None
    data: Path | None
    download: bool
    device: str | None
    threads: int

    def as_line(self) -> str:
        """The order as one line of JSON."""
        values = {
            "recipe": recipe_toml(self.recipe),
            "path": str(self.path),
            "exists": self.exists,
            "parent": None if self.parent is None else str(self.parent),
            "data": None if self.data is None else str(self.data),
            "download": self.download,
            "device": self.device,
            "threads": self.threads,
        }
        return json.dumps(values) + "\n"

    @classmethod
    def of_line(cls, line: str) -> Order:
        """The order of `as_line`."""
        values = json.loads(line)
        for name in ("parent", "data"):
            values[name] = None if values[name] is None else Path(values[name])
        recipe = parse_recipe(values.pop("recipe"), "the recipe that was ordered")
        return cls(recipe, Path(values.pop("path")), **values)


def carry_out(order: Order, place: Callable[[], Workplace], events: Events) -> TrainingReport:
    """Trains what is ordered; `place` is asked for where a new run is trained from its beginning.

    Raises UserError, and whatever a training raises.
    """
    if order.exists:
        return resume(order.path, data_path=order.data, download=order.download, device=order.device, events=events)
    if order.parent is None:
        return train(order.recipe, order.path, data_path=order.data, place=place(), events=events)
    return round_and_finetune(
        order.parent,
        order.path,
        recipe=order.recipe,
        data_path=order.data,
        download=order.download,
        device=order.device,
        events=events,
    )
