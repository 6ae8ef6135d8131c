"""The environment of a run as rows that people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_WORDS = {True: "yes", False: "no", None: "none"}


def environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of a name in words and a text: `{"versions": {"torch": "2.10"}}` is `("versions: torch", "2.10")`."""
    return list(_rows("", environment))


def _rows(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            words = str(key).replace("_", " ")
            yield from _rows(f"{name}: {words}" if name else words, inner)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from _rows(f"{name} {number}", inner)
    elif value is None or isinstance(value, bool):
        yield name, _WORDS[value]
    elif isinstance(value, list):
        yield name, ", ".join(str(inner) for inner in value)
    else:
        yield name, str(value)
