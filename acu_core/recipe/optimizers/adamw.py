"""The table of AdamW."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from acu_core.recipe.optimizer_table import OptimizerTable
from acu_core.recipe.table import RateOrZero, numbers_of

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamW(OptimizerTable):
    """AdamW (Loshchilov and Hutter 2019) for the weights; the positions keep the paper's step, SGD with momentum.

    Adam divides y and x each by its own average size, so that a synapse would no longer follow its gradient's
    direction, and would go about a tenth as far as with the same rate there. What is known of positions, from the
    paper's results to the rates that work, is known of the normalised gradient with momentum, so it stays theirs.
    """

    built_by: ClassVar[str] = "torch.optim:AdamW"
    rates_are_alike: ClassVar[bool] = False

    position_learning_rate_factor: RateOrZero | None = None
    """Always none."""
    betas: Annotated[list[Beta], Field(min_length=2, max_length=2), BeforeValidator(numbers_of)] = Field(
        default_factory=lambda: [0.9, 0.999]
    )
    """Of the averages of the gradient and of its square."""
    eps: RateOrZero = 1e-8
    position_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of the SGD that moves the positions."""

    def arguments(self) -> dict[str, Any]:
        """Those of torch.optim.AdamW."""
        return {"betas": tuple(self.betas), "eps": self.eps}

    def position_arguments(self) -> dict[str, Any]:
        """Those of torch.optim.SGD, for the positions."""
        return {"momentum": self.position_momentum}
