"""Which CUDA kernels a run is trained with, call by call: decided when it begins, and taken again when it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from acu_core.learn.processes import Processes
from acu_core.op.cuda_kernels import KERNELS
from acu_core.op.library import has_kernel, wanted_cuda_kernels
from acu_core.runs.run_directory import RunDirectory


def kernel_record(device: torch.device) -> dict[str, Any]:
    """For the table `operator` of `environment.json`; nothing where there is nothing to choose between."""
    if device.type != "cuda" or not has_kernel("cuda"):
        return {}
    return {"cuda_kernels": KERNELS.mode, "cuda_choices": KERNELS.choices}


def chooses_kernels(device: torch.device) -> bool:
    """Whether the first calls on `device` decide which kernels it is trained with."""
    return device.type == "cuda" and has_kernel("cuda") and KERNELS.mode == "auto"


def begin_kernels() -> None:
    """Forgets what another training of this process has decided: that was for its own."""
    if has_kernel("cuda"):
        KERNELS.resume(wanted_cuda_kernels() or "auto", {})


def resume_kernels(environment: Mapping[str, Any], device_name: str) -> None:
    """Goes on with what is recorded; what the environment variable names goes before that.

    What calls took on another kind of GPU than `device_name` was neither compared nor timed on this one: these decide
    anew.
    """
    if not has_kernel("cuda"):
        return
    operator = environment.get("operator", {})
    # Runs from before there was a choice took the columns'.
    earlier = "columns" if str(environment.get("device")).startswith("cuda") else "auto"
    mode = wanted_cuda_kernels() or operator.get("cuda_kernels") or earlier
    same_gpu = environment.get("device_name") == device_name
    KERNELS.resume(mode, operator.get("cuda_choices", {}) if same_gpu else {})


def share_choices(processes: Processes) -> None:
    """Gives all processes the first one's choices, and for calls that it has not met those of the next that has."""
    if processes.several:
        found: dict[str, str] = {}
        for choices in processes.collected(KERNELS.choices):
            found = {**choices, **found}
        KERNELS.resume(KERNELS.mode, found)


def record_choices(run: RunDirectory, device: torch.device) -> None:
    """Adds to a run's record what was decided since: a gradient that was 0 at first shows nothing then."""
    if not chooses_kernels(device):
        return
    environment = run.environment
    operator = environment.get("operator", {})
    if missing := KERNELS.choices.items() - operator.get("cuda_choices", {}).items():
        choices = dict(sorted({**operator.get("cuda_choices", {}), **dict(missing)}.items()))
        run.replace_environment({**environment, "operator": {**operator, "cuda_choices": choices}})
