"""The table [optimizer]: what all optimizers have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from acu_core.recipe.table import Rate, RateOrZero, Table


class OptimizerTable(Table):
    """How the weights follow their gradients; the positions have a learning rate of their own.

    Each optimizer has a class of its own, whose further fields are its `arguments`.
    """

    built_by: ClassVar[str]
    """"module:callable", imported when a training begins.

    Called as `callable(groups, lr=, **arguments)` with this table's `arguments`; returns a torch.optim.Optimizer.
    """

    name: str = "sgd"
    learning_rate: Rate
    weight_decay: RateOrZero = 0.0
    gradient_clip: RateOrZero = 0.0
    """Largest norm of all gradients together, the positions' excluded; 0 does not clip."""
    position_learning_rate_factor: RateOrZero = 0.01
    normalize_positions: bool = True
    freeze_positions: bool = False

    @property
    def keeps_state(self) -> bool:
        """Whether it remembers earlier gradients, so that a training goes on otherwise without its state."""
        return True

    def arguments(self) -> dict[str, Any]:
        """What the optimizer is made with beside its groups: the fields that its class adds."""
        common = OptimizerTable.model_fields
        return {name: getattr(self, name) for name in type(self).model_fields if name not in common}
