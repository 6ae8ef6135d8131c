"""What of a run's environment decides the bits of its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DATA = "data fingerprint"
"""The condition whose values are hashes, which say nothing to a reader."""
_NAMES = ("batch_norm", "threads", "device", "device_name", "memory_format", "compile", "processor")
_EARLIER = {
    "processes": 1,
    "precision": "float32",
    "arithmetic convolutions": "ieee",
    "arithmetic products": "ieee",
    "arithmetic reduced_precision_sums": False,
    "arithmetic evaluation": "float32",
}
"""What environments do not say that were written before there was anything but one process and float32."""
_TABLES = (
    ("data", ("fingerprint",)),
    ("operator", ("compiled", "instruction_set")),
    ("versions", ("acu", "torch", "cuda", "numpy")),
)


def shared_fingerprint(fingerprint: Mapping[str, str]) -> dict[str, str]:
    """What runs of all seeds have in common of their data's fingerprint.

    Which images are held out for validation the seed says, and so what the others were preprocessed with.
    """
    by_seed = {"validation", "statistics"} if "validation" in fingerprint else set()
    return {name: value for name, value in fingerprint.items() if name not in by_seed}


def conditions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The values by their names, such as "versions torch"; None for what `environment` does not say."""
    found = {name: environment.get(name) for name in _NAMES}
    found |= {f"{table} {key}": environment.get(table, {}).get(key) for table, keys in _TABLES for key in keys}
    for name, earlier in _EARLIER.items():
        table, _, key = name.partition(" ")
        found[name] = environment.get(table, {}).get(key, earlier) if key else environment.get(table, earlier)
    # Of runs on a CPU, and of those from before there were others.
    found["operator cuda_kernels"] = environment.get("operator", {}).get("cuda_kernels", "columns")
    # Environments from before revisions were recorded are of the first.
    return found | {"operator revision": environment.get("operator", {}).get("revision", 1)}
