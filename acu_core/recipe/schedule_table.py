"""The table [schedule]: what all schedules have in common."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from acu_core.recipe.table import Iterations, IterationsOrZero, Table, ascending, located


class ScheduleTable(Table):
    """How long a training is, and how its learning rates change. All numbers are iterations, counted from 1.

    Each schedule has a class of its own. Whatever it says of an iteration follows from its fields and the iteration
    alone, so that a run goes on with nothing but its recipe.
    """

    falls_by: ClassVar[str] = "name"
    """The key that makes the rates fall."""

    name: str = "steps"
    iterations: Iterations
    warm_up: IterationsOrZero = 0
    """Positions stay put so long, while the weights learn at their full rate."""
    evaluate_every: IterationsOrZero = 0
    """0 evaluates at the end only."""
    checkpoint_every: Iterations = 1000
    keep: Annotated[list[IterationsOrZero], AfterValidator(ascending)] = Field(default_factory=list)
    """Iterations after which a checkpoint is saved and never deleted; of all others only the newest stay."""
    keep_best: bool = False
    """Also keeps the checkpoint that errs least on the validation images; never chosen by the test images."""

    @model_validator(mode="after")
    def _keeps_what_is_trained(self) -> ScheduleTable:
        if self.keep and self.keep[-1] > self.iterations:
            reason = f"{self.keep[-1]} is beyond schedule.iterations, {self.iterations}: it would never be saved"
            raise located(reason, "keep")
        return self

    def rate(self, first: float, iteration: int) -> float:
        """What becomes of the rate `first` in training iteration `iteration`: the same shape for all rates."""
        return first

    def fall(self) -> float:
        """By how many powers of ten the rates are lower at the end; a rate that ends at 0 counts as none."""
        return 0.0

    def fall_in_words(self) -> str:
        """What makes the rates fall, for an error about a rate that falls too far."""
        return f"the schedule {self.name} leads"

    def decided_by(self, reached: int) -> dict[str, Any]:
        """The keys that decided the rates up to iteration `reached`: they cannot change once it is trained."""
        return {}

    def shortened(self, share: float, iterations: int) -> dict[str, Any]:
        """Its own keys of iterations, for a training shortened to `share` of it, which is `iterations` long."""
        return {}

    def as_steps(self) -> dict[str, Any]:
        """The changes that make the table of the schedule `steps` of this one."""
        own = set(type(self).model_fields) - set(ScheduleTable.model_fields)
        return {**dict.fromkeys(own), "name": "steps"}

    def last_rate(self, first: float) -> float:
        """A constant rate to go on with after the end, where nothing else says one."""
        return self.rate(first, self.iterations)
