"""The table of stochastic gradient descent."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from acu_core.recipe.optimizer_table import OptimizerTable


class Sgd(OptimizerTable):
    """SGD with momentum, which the paper's authors trained with."""

    built_by: ClassVar[str] = "torch.optim:SGD"

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9

    @property
    def keeps_state(self) -> bool:
        """Without momentum it looks at the newest gradient only."""
        return self.momentum > 0
