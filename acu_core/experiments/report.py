"""What a training has to say at its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from acu_core.experiments.shape_recovery import ShapeRecovery
from acu_core.learn.evaluation import Evaluation


@dataclass(frozen=True)
class RoundingFigures:
    """A rounded run beside its parent: evaluations before and after rounding, and synapses that share a cell."""

    parent: str
    parent_iteration: int
    before: Evaluation
    after: Evaluation
    collisions: list[dict[str, Any]]
    """One entry a cell: layer, group, cell [y, x] and the numbers of its synapses."""


@dataclass(frozen=True)
class TrainingReport:
    """The result of `train`, `resume` or `round_and_finetune`; figures are None where they do not apply."""

    run: str
    recipe: str
    iteration: int
    iterations: int
    seconds: float
    classes: int
    active_layers: int
    """How many layers have a shape that is learned."""
    test_part: str = "test"
    """What the evaluated images are called: "test" or "validation"."""
    stopped_by: str | None = None
    """Name of the signal that stopped it; the run has been saved."""
    evaluation: Evaluation | None = None
    recovery: ShapeRecovery | None = None
    learned_positions: list[Any] | None = None
    hidden_positions: list[Any] | None = None
    frozen: Evaluation | None = None
    """The same network with frozen positions."""
    rounding: RoundingFigures | None = None

    @property
    def finished(self) -> bool:
        """Whether everything that the recipe asks for is done."""
        return self.stopped_by is None

    def as_json(self) -> dict[str, Any]:
        """The report as plain values for `--json`."""
        values = asdict(self)
        values["finished"] = self.finished
        values["already_finished"] = False
        for name in ("evaluation", "frozen"):
            evaluation = getattr(self, name)
            if evaluation is not None:
                values[name]["accuracy"] = evaluation.accuracy
                if self.classes > 5:
                    values[name]["top5_accuracy"] = evaluation.top5_accuracy
                else:
                    del values[name]["top5_errors"]
        if self.rounding is not None:
            for name in ("before", "after"):
                del values["rounding"][name]["top5_errors"]
        return values
