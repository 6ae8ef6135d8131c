"""What a run's recipe says that is shown while it goes on. Reads the TOML itself: the schema would cost a second."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from acu_cli.watch.condition import Condition
from acu_core.errors import UserError
from acu_core.runs.run_directory import RunDirectory

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class RunPlan:
    """Iterations of the schedule; `has_twin`: as many follow in a sub-run with frozen positions."""

    recipe: str
    iterations: int
    warm_up: int
    divisions: tuple[int, ...]
    has_twin: bool

    @classmethod
    def read(cls, run: RunDirectory) -> RunPlan:
        """That of a run. Raises UserError when its recipe is damaged."""
        try:
            recipe = tomllib.loads(run.recipe_toml)
            schedule = recipe["schedule"]
            frozen = recipe["network"].get("unit") == "acu" and recipe["optimizer"].get("freeze_positions", False)
            iterations = _whole(schedule["iterations"])
            return cls(
                str(recipe["name"]),
                iterations,
                iterations if frozen is True else min(_whole(schedule.get("warm_up", 0)), iterations),
                tuple(_whole(division) for division in schedule.get("divisions", [])),
                recipe.get("compare_frozen", False) is True,
            )
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"the recipe of {run.path} is damaged ({error}): restore recipe.toml from a copy"
            ) from error

    def is_done(self, evaluated: int | None) -> bool:
        """Whether a training whose last evaluation was after iteration `evaluated` is at its end."""
        return evaluated is not None and evaluated >= self.iterations

    def condition(
        self, *, iteration: int, is_locked: bool, evaluated: int | None, twin_evaluated: int | None
    ) -> Condition:
        """How a run is doing that has come to `iteration`, with the last evaluations of itself and of its twin."""
        if not iteration:
            return Condition.WAITING
        if is_locked:
            return Condition.TRAINING
        is_done = self.is_done(evaluated) and (not self.has_twin or self.is_done(twin_evaluated))
        return Condition.FINISHED if is_done else Condition.STOPPED


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{str(value)[:40]} is not a number of iterations")
    return value
