"""The table of a cosine schedule."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from acu_core.recipe.schedule_table import ScheduleTable
from acu_core.recipe.table import IterationsOrZero, located, zero_or_rate

LEAST_LAST_SHARE = 0.01


class CosineSchedule(ScheduleTable):
    """Rates that rise in a straight line at first, and then fall along half a cosine (Loshchilov and Hutter 2017).

    In PyTorch's terms: LinearLR(start_factor=1/L, total_iters=L-1) for the first L = `linear_start` iterations, then
    CosineAnnealingLR(T_max=iterations-L, eta_min=final_factor*first), one step an iteration. So iteration L is the
    first at the full rate, L + 1 too, and the last iteration is one step of the cosine before its end: no iteration is
    spent at a rate of 0. The linear start is no warm-up: that word is for the iterations in which positions stay put.
    """

    falls_by: ClassVar[str] = "final_factor"

    linear_start: IterationsOrZero = 0
    """Iteration t of them has t / linear_start of the full rate."""
    final_factor: Annotated[float, Field(ge=0, le=1), AfterValidator(zero_or_rate)] = 0.0
    """Times the first rate: towards which the rates fall."""

    @model_validator(mode="after")
    def _starts_before_its_end(self) -> CosineSchedule:
        if self.linear_start >= self.iterations:
            reason = f"{self.linear_start} leaves nothing for the cosine: it must be below schedule.iterations, "
            raise located(f"{reason}{self.iterations}", "linear_start")
        return self

    def rate(self, first: float, iteration: int) -> float:
        """The rate in training iteration `iteration`, counted from 1."""
        if iteration <= self.linear_start:
            return first * (iteration / self.linear_start)
        done = min(iteration, self.iterations) - self.linear_start - 1
        last = first * self.final_factor
        return last + (first - last) * (1 + math.cos(math.pi * done / (self.iterations - self.linear_start))) / 2

    def fall(self) -> float:
        """Towards the last rate."""
        return -math.log10(self.final_factor) if self.final_factor else 0.0

    def fall_in_words(self) -> str:
        """The last factor."""
        return "schedule.final_factor, the cosine leads"

    def decided_by(self, reached: int) -> dict[str, Any]:
        """Where the cosine ends, once it has begun."""
        return {"iterations": self.iterations} if reached > self.linear_start else {}

    def shortened(self, share: float, iterations: int) -> dict[str, Any]:
        """The linear start keeps its share."""
        start = max(1, round(self.linear_start * share)) if self.linear_start else 0
        return {"linear_start": min(start, iterations - 1)}

    def last_rate(self, first: float) -> float:
        """At least a hundredth of the first, where two divisions by 10 end: a cosine's own may be nothing."""
        return first * max(self.final_factor, LEAST_LAST_SHARE)
