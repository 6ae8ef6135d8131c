"""The schema of a recipe: one complete TOML file that says how a run is trained."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from acu_core.errors import UserError
from acu_core.recipe.data_table import DataTable
from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.optimizer_table import OptimizerTable
from acu_core.recipe.problems import sentences
from acu_core.recipe.registry import DATA_SETS, NETWORKS, OPTIMIZERS, SCHEDULES, Chosen
from acu_core.recipe.schedule_table import ScheduleTable
from acu_core.recipe.schedules.steps import StepsSchedule
from acu_core.recipe.short_text import clipped
from acu_core.recipe.table import (
    LARGEST,
    LONGEST_NAME,
    NAMED,
    SMALLEST,
    Divisions,
    Iterations,
    IterationsOrZero,
    Name,
    PathText,
    Rate,
    Seed,
    Table,
    Text,
    custom,
    located,
)

__all__ = ["Average", "Machine", "Paper", "Parent", "Recipe", "RoundAndFinetune", "Start"]


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value, re.ASCII):
        raise custom(f"there is no device {clipped(value)}: auto, cpu, cuda, cuda:<number>, mps", NAMED)
    return value


class Machine(Table):
    """Where the run is computed; whatever is automatic is resolved once and recorded in `environment.json`."""

    device: Annotated[str, AfterValidator(_device)] = "auto"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads; 0 takes what PyTorch chooses on the machine that starts the run.

    No machine has more processors than that; at some ten thousand threads the system's limits end the process.
    """
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes that decode image files; 0 takes one for each processor, at most 16. It changes no result.

    Each takes some 50 MB and several open files.
    """
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    """Of the training step's convolutions and products; weights and evaluations are float32 in each of them."""
    compile: bool = False
    """Whether the network that is trained is compiled by PyTorch; it is evaluated as it is."""
    cuda_graph: bool = False
    """Whether the training step is captured as a CUDA graph and replayed. It changes no result."""


class Average(Table):
    """An exponential moving average of the weights, evaluated beside them. It changes nothing of the training."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Weight of the average so far in each iteration: it reaches back about 1 / (1 - decay) iterations."""


class RoundAndFinetune(Table):
    """What is trained after rounding, unless told otherwise."""

    iterations: Iterations
    learning_rate: Rate
    divisions: Divisions = Field(default_factory=list)


class Start(Table):
    """What a recipe needs before it can be trained: a finished run, from which it goes on."""

    recipe: Name
    """Of the run; its network and data are this recipe's too."""
    positions: Literal["rounded"] = "rounded"
    """The run's positions are rounded to the grid first: the paper's ACU-Round."""


class Paper(Table):
    """What the paper reports for this recipe; training never reads it."""

    measure: Literal["test error %", "top-5 accuracy %"]
    result: Annotated[float, Field(ge=0, le=100)] | None = None
    """In the measure's unit; none where only the improvement was published."""
    base: Name | None = None
    """The recipe that it is compared with."""
    improvement: Annotated[float, Field(ge=-100, le=100)] | None = None
    """Points better than the base: less error, or more accuracy."""

    @model_validator(mode="after")
    def _whole(self) -> Paper:
        if (self.base is None) != (self.improvement is None):
            raise ValueError("base and improvement belong together: give both or neither")
        if self.result is None and self.improvement is None:
            raise ValueError("give a result, an improvement, or both")
        return self


class Parent(Table):
    """Where a fine-tuning run comes from; written when a run is rounded."""

    run: PathText
    iteration: IterationsOrZero
    checkpoint_sha256: Text
    continue_statistics: bool = False
    """Whether BatchNorm's averages go on from the parent's; runs that do not say so began them anew."""


class Recipe(Table):
    """A whole recipe."""

    name: Name
    description: Text = ""
    seed: Seed = 0
    compare_frozen: bool = False
    """Also train the same network with frozen positions, in the sub-run `frozen`, to show what the shapes are worth."""
    machine: Machine = Field(default_factory=Machine)
    data: Annotated[SerializeAsAny[DataTable], BeforeValidator(Chosen(DATA_SETS))]
    network: Annotated[SerializeAsAny[NetworkTable], BeforeValidator(Chosen(NETWORKS))]
    optimizer: Annotated[SerializeAsAny[OptimizerTable], BeforeValidator(Chosen(OPTIMIZERS))]
    schedule: Annotated[SerializeAsAny[ScheduleTable], BeforeValidator(Chosen(SCHEDULES))]
    average: Average | None = None
    round_and_finetune: RoundAndFinetune | None = None
    start: Start | None = None
    paper: Paper | None = None
    parent: Parent | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.compare_frozen and self.network.unit != "acu":
            reason = "needs network.unit = acu: there are no positions to freeze"
            raise located(reason, "compare_frozen")
        table = self.optimizer
        moves = self.network.unit == "acu" and not table.freeze_positions
        if moves and not table.rates_are_alike and table.position_learning_rate is None:
            reason = (
                f"missing: the learning rate of {table.name} says nothing of pixels, so the positions' rate must be "
                "given, in pixels an iteration (the paper's is 0.001)"
            )
            raise located(reason, "optimizer", "position_learning_rate")
        if self.schedule.keep_best and not self.data.validation_images:
            reason = (
                "needs data.validation_images: the best is chosen by images held out of the training set, never by "
                "the test images"
            )
            raise located(reason, "schedule", "keep_best")
        self._check_rates("schedule", self.optimizer.learning_rate, self.schedule)
        finetuning = self.round_and_finetune
        if finetuning is not None:
            steps = StepsSchedule(iterations=finetuning.iterations, divisions=finetuning.divisions)
            if isinstance(self.schedule, StepsSchedule):
                steps = steps.model_copy(update={"divide_by": self.schedule.divide_by})
            self._check_rates("round_and_finetune", finetuning.learning_rate, steps)
        return self

    def _check_rates(self, table: str, first: float, schedule: ScheduleTable) -> None:
        fall = schedule.fall()
        weights = math.log10(first), math.log10(first) - fall
        given, factor = self.optimizer.position_learning_rate, self.optimizer.position_learning_rate_factor
        if given:
            positions = math.log10(given), math.log10(given) - fall
        else:
            positions = weights[0] + math.log10(factor or 1.0), weights[1] + math.log10(factor or 1.0)
        for rate in (*weights, *positions):
            if not math.log10(SMALLEST) <= rate <= math.log10(LARGEST):
                reason = (
                    f"with optimizer.learning_rate, the positions' rate and {schedule.fall_in_words()} to a rate of "
                    f"about 1e{round(rate)}: it must stay from {SMALLEST:g} to {LARGEST:g}"
                )
                raise located(reason, table, schedule.falls_by)

    def derived_name(self, suffix: str) -> str:
        """The name of a recipe that is made from this one, such as "planted-frozen": cut so that the suffix fits."""
        return f"{self.name[: LONGEST_NAME - len(suffix)]}{suffix}"

    def changed(self, **tables: Any) -> Recipe:
        """A copy with other values; a dictionary changes only its keys of that table, None takes a table or key away.

        Raises UserError that names what cannot be so.
        """
        values = self.model_dump(exclude_none=True)
        for key, value in tables.items():
            if isinstance(value, dict):
                values[key] = {k: v for k, v in {**values.get(key, {}), **value}.items() if v is not None}
            elif value is None:
                values.pop(key, None)
            else:
                values[key] = value
        try:
            return Recipe.model_validate(values)
        except ValidationError as error:
            found = "; ".join(sentences(error, Recipe, values))
            raise UserError(f"the recipe {self.name} cannot be changed so: {found}") from error
