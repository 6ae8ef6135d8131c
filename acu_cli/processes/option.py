"""`--processes`, in every command that trains one run."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from acu_cli.processes.messages import LAUNCHER

Processes = Annotated[
    int, typer.Option(min=1, max=1024, help="Processes of this machine that train the run together, one a GPU.")
]


def start_processes(processes: int, device: str) -> None:
    """Ends as `processes` processes of the same command end; does nothing in one of them, or where one is enough.

    `device` is what the recipe or the run says. Raises UserError when it has not enough GPUs for that.
    """
    if processes == 1 or LAUNCHER in os.environ:
        return
    from acu_core.errors import UserError
    from acu_core.learn.announcement import announced

    announcement = announced()
    if announcement is not None:
        raise UserError(f"torchrun has started {announcement.size} processes already: leave out --processes")
    import torch

    from acu_cli.processes.launcher import launch

    gpus = torch.cuda.device_count()
    # Where there are none, the processes say so, or go on without, as one alone does.
    if gpus and processes > gpus and device.partition(":")[0] in ("auto", "cuda"):
        raise UserError(
            f"--processes {processes} needs as many GPUs, and there {'is 1' if gpus == 1 else f'are {gpus}'} here: "
            "start fewer, or train on the CPU by --device cpu"
        )
    launch(processes, sys.argv[1:])
