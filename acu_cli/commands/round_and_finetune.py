"""`acu round-and-finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acu_cli.processes.option import Processes, start_processes
from acu_cli.processes.restart import interrupted_run
from acu_cli.training_progress import TrainingProgress
from acu_cli.training_summary import conclude


def round_and_finetune(
    run: Annotated[Path, typer.Argument(help="The run whose shapes are rounded; it is left as it is.")],
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Iterations of fine-tuning. Default: as the run's recipe says.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the new run. Default: runs/<recipe>-rounded-<n>.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:<number> or mps. Default: the run's.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The data set. Default: where the run found it.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is not there.")] = False,
    processes: Processes = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Round a run's positions to the grid, freeze them and train the weights on, in a run of its own.

    Prints the error before rounding, after rounding and after fine-tuning, and which synapses fell on one cell.
    """
    from acu_core.learn.announcement import announced
    from acu_core.train.run_recipe import run_device

    announced()
    start_processes(processes, device or run_device(run))
    with TrainingProgress() as events:
        events.note("Starting PyTorch ...")
        from acu_core.experiments import frozen_twin, rounding

        begun = interrupted_run()
        if begun is not None:
            report = frozen_twin.resume(begun, data_path=data, download=download, device=device, events=events)
        else:
            report = rounding.round_and_finetune(
                run, out, iterations=iterations, data_path=data, download=download, device=device, events=events
            )
    conclude(report, as_json=json)
