"""`environment.json`: everything that was chosen automatically when a run began, and the versions it ran with.

One JSON object. A run that was imported says only where it came from until it is trained on here. Keys beside these are
kept as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from acu_core.errors import UserError


class Environment(TypedDict, total=False):
    """The content, checked by `decode_environment`."""

    threads: int
    workers: int
    processes: int
    """That trained together."""
    batch_norm: str | None
    """Over which images BatchNorm normalised, of several processes: all ("synchronized") or each one's."""
    device: str
    device_name: str
    memory_format: str
    compile: bool
    cuda_graph: bool
    """Whether the step was to be captured as a CUDA graph; it decides no bit."""
    precision: str
    arithmetic: dict[str, Any]
    """How convolutions and products of float32 were computed, whether 16-bit sums were allowed; of evaluations, too."""
    data: dict[str, Any]
    """Where the data lay ("source"), and the hashes of what they were ("fingerprint")."""
    operator: dict[str, Any]
    """Whether the compiled operator was used, and its instruction set; on CUDA which calls took which kernels."""
    processor_name: str | None
    processor: str
    versions: dict[str, Any]
    imported: dict[str, Any]
    """The format, the network's name and the files, each with its iteration."""


BOUNDS = {"threads": (1, 1024), "workers": (0, 256), "processes": (1, 1_000_000)}
"""A recipe's, where 0 threads are not resolved yet: more end the process at the system's limits."""
LONGEST_PATH = 4096
"""Characters; no system opens a longer one."""
_KINDS: dict[str, tuple[type, ...]] = {
    "threads": (int,),
    "workers": (int,),
    "processes": (int,),
    "batch_norm": (str, type(None)),
    "device": (str,),
    "device_name": (str,),
    "memory_format": (str,),
    "compile": (bool,),
    "cuda_graph": (bool,),
    "precision": (str,),
    "arithmetic": (dict,),
    "data": (dict,),
    "operator": (dict,),
    "processor_name": (str, type(None)),
    "processor": (str,),
    "versions": (dict,),
    "imported": (dict,),
}
_WORDS = {int: "a whole number", str: "a text", bool: "true or false", dict: "a JSON object"}


def decode_environment(text: str, path: Path) -> Environment:
    """The content of `path`. Raises UserError that names the key that is not what acu writes."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object")
    for key, kinds in _KINDS.items():
        if key in content and type(content[key]) not in kinds:
            raise UserError(f"{path} is damaged: {key} is not {_WORDS[kinds[0]]}")
    for key, (least, most) in BOUNDS.items():
        if not least <= content.get(key, least) <= most:
            raise UserError(f"{path} is damaged: {key} is not a whole number from {least} to {most}")
    data = content.get("data", {})
    if not isinstance(data.get("fingerprint", {}), dict):
        raise UserError(f"{path} is damaged: data.fingerprint is not a JSON object")
    source = data.get("source", "")
    if not isinstance(source, str) or len(source) > LONGEST_PATH:
        raise UserError(f"{path} is damaged: data.source is not a path of at most {LONGEST_PATH:,} characters")
    operator = content.get("operator", {})
    choices = operator.get("cuda_choices", {})
    if operator.get("cuda_kernels", "auto") not in ("columns", "fused", "auto"):
        raise UserError(f"{path} is damaged: operator.cuda_kernels is not columns, fused or auto")
    if not isinstance(choices, dict) or not all(kernels in ("columns", "fused") for kernels in choices.values()):
        raise UserError(f"{path} is damaged: operator.cuda_choices does not name columns or fused for each call")
    files = content.get("imported", {}).get("files", [])
    if not isinstance(files, list) or not all(isinstance(f, dict) and type(f.get("iteration")) is int for f in files):
        raise UserError(f"{path} is damaged: imported.files is not a list of files with their iterations")
    found: Environment = content  # type: ignore[assignment]
    return found


def without_later_choices(text: str) -> str:
    """The file's text without what a training adds to it as it goes on: which CUDA kernels its later calls took."""
    try:
        content = json.loads(text)
        del content["operator"]["cuda_choices"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return text
    return encode_environment(content)


def encode_environment(environment: Mapping[str, Any]) -> str:
    """The file's text."""
    return json.dumps(dict(environment), allow_nan=False, ensure_ascii=False, indent=2) + "\n"
