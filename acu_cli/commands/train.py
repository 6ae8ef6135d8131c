"""`acu train`."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acu_cli.completion import recipe_names, set_keys
from acu_cli.processes.option import Processes, start_processes
from acu_cli.processes.restart import interrupted_run
from acu_cli.training_progress import TrainingProgress
from acu_cli.training_summary import conclude, conclude_finished

if TYPE_CHECKING:
    from acu_core.experiments.report import TrainingReport


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A built-in recipe, or a TOML file. Default: planted.", autocompletion=recipe_names),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value of the recipe; may be given several times.",
            autocompletion=set_keys,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data, weights and batches.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the run. Default: runs/<recipe>-<n>.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:<number> or mps.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data set: a file or a folder.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is not there.")] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run; --set schedule.iterations=N extends it.")
    ] = None,
    go_on: Annotated[
        bool,
        typer.Option(
            "--continue",
            help="Begin the run at --out, or go on with it if it is there: one command for a job that may be stopped.",
        ),
    ] = False,
    processes: Processes = 1,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the shapes and curves live, in place of the progress bar.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a network, by default on small built-in data, and say what it has learned.

    Ctrl-C saves and stops; --resume goes on, on the same CPU to the same bits.
    """
    from acu_core.errors import UserError
    from acu_core.learn.announcement import announced
    from acu_core.recipe.recipe_file import DEFAULT_RECIPE, load_recipe
    from acu_core.train.run_recipe import check_extension, run_device
    from acu_core.train.standing import run_standing

    announced()
    changes = list(overrides or [])
    if resume is not None:
        fixed = {"RECIPE": recipe, "--seed": seed, "--out": out, "--continue": go_on or None}
        given = [name for name, value in fixed.items() if value is not None]
        if given:
            raise UserError(f"{', '.join(given)} cannot be given with --resume: the run says it already")
        check_extension(resume, changes)
    else:
        if go_on and out is None:
            raise UserError("--continue needs --out: a run that is gone on with lies at the same place each time")
        changes += [f"seed={seed}"] if seed is not None else []
        changes += [f"machine.device={dumps(device)}"] if device is not None else []
        loaded = load_recipe(recipe or DEFAULT_RECIPE, changes)
        if go_on and out is not None:
            # Another recipe is refused before the seconds that PyTorch takes.
            run_standing(loaded, out)
        resume = interrupted_run() if not go_on else None
        changes = changes if resume is None else []
    start_processes(processes, device or (run_device(resume) if resume is not None else loaded.machine.device))
    with TrainingProgress(watch=watch) as events:
        events.note("Starting PyTorch ...")
        from acu_core.experiments import frozen_twin
        from acu_core.experiments.continuation import FinishedRun, train_or_continue

        report: TrainingReport | FinishedRun
        if resume is not None:
            report = frozen_twin.resume(
                resume, changes, data_path=data, download=download, device=device, events=events
            )
        elif go_on and out is not None:
            report = train_or_continue(loaded, out, data_path=data, download=download, events=events)
        else:
            report = frozen_twin.train(loaded, out, data_path=data, download=download, events=events)
    if isinstance(report, FinishedRun):
        conclude_finished(report, as_json=json)
    else:
        conclude(report, as_json=json)
