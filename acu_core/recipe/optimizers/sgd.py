"""The table of stochastic gradient descent."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from acu_core.recipe.optimizer_table import OptimizerTable
from acu_core.recipe.table import located


class Sgd(OptimizerTable):
    """SGD with momentum, which the paper's authors trained with; `nesterov` is for the weights alone."""

    built_by: ClassVar[str] = "torch.optim:SGD"

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    """Nesterov's momentum, as PyTorch has it. The positions keep the paper's step."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Sgd:
        if self.nesterov and not self.momentum:
            raise located("needs optimizer.momentum above 0", "nesterov")
        return self

    @property
    def keeps_state(self) -> bool:
        """Without momentum it looks at the newest gradient only."""
        return self.momentum > 0

    def position_arguments(self) -> dict[str, Any] | None:
        """The plain momentum beside Nesterov's; else one optimizer does for all."""
        return {"momentum": self.momentum} if self.nesterov else None
