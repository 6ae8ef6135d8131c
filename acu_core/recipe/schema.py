"""The schema of a recipe: one complete TOML file that says how a run is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Options = dict[str, int | float | str | bool]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class _Table(BaseModel):
    # Strict: "100" is not 100 and true is not 1; a recipe that means something else than it says is worse than an
    # error.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Machine(_Table):
    """Where the run is computed; whatever is automatic is resolved once and recorded in `environment.json`."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    threads: CountOrZero = 0
    """CPU threads; 0 takes what PyTorch chooses on the machine that starts the run."""
    workers: CountOrZero = 0
    """Processes that decode image files; 0 takes one for each processor, at most 16. It changes no result."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"


class Data(_Table):
    """The data set, its batches and its augmentation."""

    name: Literal["planted", "cifar10", "cifar100", "imagefolder", "places365"]
    path: str = ""
    """An .npz file or a folder; empty: where the data set is looked for by default."""
    batch_size: Count
    evaluation_batch_size: Count = 500
    crop_padding: CountOrZero = 0
    """Pixels of reflect padding before the random crop; 0 is no crop. Image files are cropped by their options."""
    mirror: bool = False
    options: Options = Field(default_factory=dict)
    """Passed to the data set: see `acu_core.data`."""

    @model_validator(mode="after")
    def _crops_of_files(self) -> Data:
        if self.crop_padding and self.name in ("imagefolder", "places365"):
            raise ValueError(f"crop_padding is not for {self.name}: its crops are set by data.options (crop, resize)")
        return self


class Network(_Table):
    """The network, and whether its convolutions are ordinary or active."""

    name: str
    unit: Literal["acu", "convolution"] = "acu"
    batch_norm_fraction: Annotated[float, Field(gt=0, le=1)] = 0.001
    """Weight of the newest batch in BatchNorm's corrected running average (Caffe's 1 - moving_average_fraction).

    Statistics that come with the option `weights` are averaged on.
    """
    options: Options = Field(default_factory=dict)


class Optimizer(_Table):
    """SGD with momentum; the positions have a learning rate of their own."""

    learning_rate: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 0.0
    gradient_clip: NotNegative = 0.0
    """Largest norm of all gradients together, the positions' excluded; 0 does not clip."""
    position_learning_rate_factor: NotNegative = 0.01
    normalize_positions: bool = True
    freeze_positions: bool = False


class Schedule(_Table):
    """How long, and when the learning rates fall. All numbers are iterations, counted from 1."""

    iterations: Count
    warm_up: CountOrZero = 0
    divisions: list[Count] = Field(default_factory=list)
    divide_by: Positive = 10.0
    evaluate_every: CountOrZero = 0
    """0 evaluates at the end only."""
    checkpoint_every: Count = 1000

    @model_validator(mode="after")
    def _ascending(self) -> Schedule:
        if any(later <= earlier for earlier, later in zip(self.divisions, self.divisions[1:], strict=False)):
            raise ValueError(f"divisions must ascend, got {self.divisions}")
        return self


class RoundAndFinetune(_Table):
    """What `acu round-and-finetune` trains after rounding, unless told otherwise."""

    iterations: Count
    learning_rate: Positive
    divisions: list[Count] = Field(default_factory=list)


class Start(_Table):
    """What a recipe needs before it can be trained: a finished run, from which it goes on."""

    recipe: Name
    """Of the run; its network and data are this recipe's too."""
    positions: Literal["rounded"] = "rounded"
    """The run's positions are rounded to the grid first: the paper's ACU-Round."""


class Paper(_Table):
    """What the paper reports for this recipe; training never reads it."""

    measure: Literal["test error %", "top-5 accuracy %"]
    result: NotNegative | None = None
    """In the measure's unit; none where only the improvement was published."""
    base: Name | None = None
    """The recipe that it is compared with."""
    improvement: float | None = None
    """Points better than the base: less error, or more accuracy."""

    @model_validator(mode="after")
    def _whole(self) -> Paper:
        if (self.base is None) != (self.improvement is None):
            raise ValueError("base and improvement belong together: give both or neither")
        if self.result is None and self.improvement is None:
            raise ValueError("give a result, an improvement, or both")
        return self


class Parent(_Table):
    """Where a fine-tuning run comes from; written by `acu round-and-finetune`."""

    run: str
    iteration: CountOrZero
    checkpoint_sha256: str


class Recipe(_Table):
    """A whole recipe."""

    name: Name
    description: str = ""
    seed: CountOrZero = 0
    compare_frozen: bool = False
    """Also train the same network with frozen positions, in the sub-run `frozen`, to show what the shapes are worth."""
    machine: Machine = Field(default_factory=Machine)
    data: Data
    network: Network
    optimizer: Optimizer
    schedule: Schedule
    round_and_finetune: RoundAndFinetune | None = None
    start: Start | None = None
    paper: Paper | None = None
    parent: Parent | None = None

    @model_validator(mode="after")
    def _comparable(self) -> Recipe:
        if self.compare_frozen and self.network.unit != "acu":
            raise ValueError("compare_frozen needs network.unit = acu: there are no positions to freeze")
        return self

    def changed(self, **tables: Any) -> Recipe:
        """A copy with other values; a dictionary changes only its keys of that table. Raises pydantic's error."""
        values = self.model_dump(exclude_none=True)
        for key, value in tables.items():
            if isinstance(value, dict):
                values[key] = {**values.get(key, {}), **value}
            elif value is None:
                values.pop(key, None)
            else:
                values[key] = value
        return Recipe.model_validate(values)
