"""What every table of a recipe is made of: strict pydantic models, and numbers with bounds.

A bound says where a value stops to mean anything: beyond it a training would not be another one, it would hang, run out
of memory or leave float32.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

LARGEST_SEED = 2**63 - 1
"""PyTorch's generators take no more bits."""
MOST_ITERATIONS = 10**12
"""A thousand years at 30 iterations a second."""
MOST_IMAGES = 2**17
"""In a batch. CIFAR's images come to 1.6 GB then, and no data set here gains from a larger batch."""
SMALLEST, LARGEST = 1e-30, 1e30
"""Of rates: float32 holds 1e-38 to 3e38, and a rate is multiplied by gradients."""
LONGEST_NAME = 100
"""Of a run's name, which becomes that of a directory: file systems take 255 bytes."""


NAMED = "named"
"""The kind of an error whose message holds the value already."""


class Table(BaseModel):
    """A table of a recipe. Without fields of its own it is the empty one."""

    # Strict: "100" is not 100 and true is not 1; a recipe that means something else than it says is worse than an
    # error.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def located(message: str, *location: str) -> ValidationError:
    """An error at `location`, as seen from the table whose validator raises it; its message needs no value.

    Pydantic puts the table's key before it. A ValueError in a validator of a whole table would name only the table.
    """
    return listed([InitErrorDetails(type=custom(message, NAMED), loc=location, input=None)])


def listed(errors: list[InitErrorDetails]) -> ValidationError:
    """Several errors in one exception."""
    return ValidationError.from_exception_data("Recipe", errors)


def custom(message: str, kind: str = "value_error") -> PydanticCustomError:
    """Pydantic's error with a message of ours, in which braces mean nothing."""
    # Its templates are LiteralStrings, so that nobody formats them; the message comes in as a value.
    return PydanticCustomError(kind, "{message}", {"message": message})


def zero_or_rate(value: float) -> float:
    """A validator: 0, or what float32 holds."""
    if 0 < value < SMALLEST:
        raise ValueError(f"should be 0, or at least {SMALLEST:g}")
    return value


def ascending(values: list[int]) -> list[int]:
    """A validator: each value above the one before it."""
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise ValueError("should ascend")
    return values


def _written(value: str) -> str:
    # What Python makes of a byte that is not UTF-8 on the command line, which TOML cannot hold.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("should be a text that UTF-8 can write")
    return value


def _whole_text(value: str) -> str:
    if "\0" in value:
        raise ValueError("should not hold the character 0, which no path can")
    return value


Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Iterations = Annotated[int, Field(ge=1, le=MOST_ITERATIONS)]
IterationsOrZero = Annotated[int, Field(ge=0, le=MOST_ITERATIONS)]
Divisions = Annotated[list[Iterations], AfterValidator(ascending)]
"""Iterations after which the learning rates fall, in ascending order."""
BatchSize = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
Rate = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
RateOrZero = Annotated[float, Field(ge=0, le=LARGEST), AfterValidator(zero_or_rate)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME)]
Text = Annotated[str, AfterValidator(_written)]
PathText = Annotated[Text, AfterValidator(_whole_text)]


def parts_of(value: Any) -> Any:
    """A list from what earlier recipes wrote as one text, "a, b"; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def numbers_of(value: Any) -> Any:
    """A list of numbers from a text such as "0.485, 0.456, 0.406"; a text of anything else stays one."""
    if not isinstance(value, str):
        return value
    try:
        return [float(part) for part in value.split(",")]
    except ValueError:
        return value
