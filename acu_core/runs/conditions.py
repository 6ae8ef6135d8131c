"""What of a run's environment decides the bits of its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DATA = "data fingerprint"
"""The condition whose values are hashes, which say nothing to a reader."""
_NAMES = ("batch_norm", "threads", "device", "device_name", "memory_format", "compile", "processor")
_TABLES = (
    ("data", ("fingerprint",)),
    ("operator", ("compiled", "instruction_set")),
    ("versions", ("acu", "torch", "cuda", "numpy")),
)


def conditions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The values by their names, such as "versions torch"; None for what `environment` does not say."""
    found = {name: environment.get(name) for name in _NAMES}
    found |= {f"{table} {key}": environment.get(table, {}).get(key) for table, keys in _TABLES for key in keys}
    # Environments from before several processes could train are of one.
    found["processes"] = environment.get("processes", 1)
    # Environments from before revisions were recorded are of the first.
    return found | {"operator revision": environment.get("operator", {}).get("revision", 1)}
