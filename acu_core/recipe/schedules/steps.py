"""The table of a schedule in steps."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any, ClassVar

from pydantic import Field

from acu_core.recipe.schedule_table import ScheduleTable
from acu_core.recipe.table import Divisions, Rate


class StepsSchedule(ScheduleTable):
    """Rates that are divided at some iterations and constant between them, which the paper's authors trained with."""

    falls_by: ClassVar[str] = "divisions"

    divisions: Divisions = Field(default_factory=list)
    divide_by: Rate = 10.0

    def rate(self, first: float, iteration: int) -> float:
        """A division at d takes effect from iteration d + 1 on: d iterations have then been trained at the old rate."""
        return first / self.divide_by ** bisect_left(self.divisions, iteration)

    def fall(self) -> float:
        """In logarithms: the numbers themselves overflow."""
        return len(self.divisions) * math.log10(self.divide_by)

    def fall_in_words(self) -> str:
        """The number of divisions."""
        return f"schedule.divide_by, {len(self.divisions)} divisions lead"

    def decided_by(self, reached: int) -> dict[str, Any]:
        """The divisions that have taken effect."""
        return {"divisions": [division for division in self.divisions if division < reached]}

    def shortened(self, share: float, iterations: int) -> dict[str, Any]:
        """Divisions at the same shares of the training."""
        return {"divisions": shortened_divisions(self.divisions, share)}

    def as_steps(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def last_rate(self, first: float) -> float:
        """After all divisions, also those beyond the end."""
        return first / self.divide_by ** len(self.divisions)


def shortened_divisions(divisions: list[int], share: float) -> list[int]:
    """Divisions for a training shortened to `share`."""
    return sorted({max(1, round(division * share)) for division in divisions})
