"""Values as they come out of a file, checked: each of the kind and in the range that acu writes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class WrongRecordError(ValueError):
    """A record is not what acu writes; says what is wrong with it."""


def check_keys(entry: Mapping[str, Any], needed: frozenset[str], optional: frozenset[str] = frozenset()) -> None:
    """Raises WrongRecordError unless the keys are those needed and perhaps the optional ones."""
    keys = entry.keys()
    if keys == needed:
        return
    if missing := needed - keys:
        raise WrongRecordError(f"it has no {', '.join(sorted(missing))}")
    if foreign := keys - needed - optional:
        raise WrongRecordError(f"{', '.join(sorted(foreign))} is nothing that acu writes there")


def whole_number(entry: Mapping[str, Any], key: str, least: int = 0) -> int:
    """An integer from `least` on."""
    value = entry[key]
    if type(value) is not int or value < least:
        raise WrongRecordError(f"{key} must be a whole number from {least} on, it is {str(value)[:40]}")
    return value


def number(entry: Mapping[str, Any], key: str, most: float = math.inf) -> float:
    """A finite number from 0 to `most`."""
    value = entry[key]
    if type(value) not in (int, float) or not 0 <= value <= most or value == math.inf:
        raise WrongRecordError(f"{key} must be a number from 0 to {most:g}, it is {str(value)[:40]}")
    return float(value)
