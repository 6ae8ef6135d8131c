"""The table [optimizer]: what all optimizers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import model_validator

from acu_core.recipe.table import Rate, RateOrZero, Table, located


class OptimizerTable(Table):
    """How the weights follow their gradients; the positions have a learning rate of their own.

    Each optimizer has a class of its own, whose further fields are its `arguments`.
    """

    built_by: ClassVar[str]
    """"module:callable", imported when a training begins.

    Called as `callable(groups, lr=, **arguments)` with this table's `arguments`; returns a torch.optim.Optimizer.
    """

    rates_are_alike: ClassVar[bool] = True
    """Whether a learning rate is of SGD's scale, so that the positions' may be a factor of it."""

    name: str = "sgd"
    learning_rate: Rate
    weight_decay: RateOrZero = 0.0
    gradient_clip: RateOrZero = 0.0
    """Largest norm of all gradients together, the positions' excluded; 0 does not clip."""
    position_learning_rate: RateOrZero | None = None
    """Pixels an iteration, whatever the weights' rate is, in the factor's place; the schedule gives both one shape."""
    position_learning_rate_factor: RateOrZero | None = 0.01
    """Times the weights' rate; none where the positions' rate is given."""
    normalize_positions: bool = True
    freeze_positions: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_rate_of_positions(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        if not cls.rates_are_alike and values.get("position_learning_rate_factor") is not None:
            reason = (
                f"is not for {values.get('name')}, whose learning rate says nothing of pixels: leave it out, "
                "and give optimizer.position_learning_rate in pixels an iteration (the paper's is 0.001)"
            )
            raise located(reason, "position_learning_rate_factor")
        if values.get("position_learning_rate") is None:
            # None of the factor is what goes with a rate that is given, so it is the default again without one.
            factor = "position_learning_rate_factor"
            return {key: value for key, value in values.items() if key != factor or value is not None}
        if values.get("position_learning_rate_factor") is not None:
            reason = "give this or position_learning_rate_factor, not both: they say the same thing in two ways"
            raise located(reason, "position_learning_rate")
        return {**values, "position_learning_rate_factor": None}

    @property
    def first_position_learning_rate(self) -> float:
        """Pixels an iteration, before the schedule changes it."""
        if self.position_learning_rate is not None:
            return self.position_learning_rate
        return self.learning_rate * (self.position_learning_rate_factor or 0.0)

    @property
    def keeps_state(self) -> bool:
        """Whether it remembers earlier gradients, so that a training goes on otherwise without its state."""
        return True

    def position_arguments(self) -> dict[str, Any] | None:
        """What torch.optim.SGD is made with for the positions, where this optimizer is for the other parameters alone.

        None: this optimizer moves them too.
        """
        return None

    def arguments(self) -> dict[str, Any]:
        """What the optimizer is made with beside its groups: the fields that its class adds."""
        common = OptimizerTable.model_fields
        return {name: getattr(self, name) for name in type(self).model_fields if name not in common}
