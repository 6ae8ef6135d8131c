"""`acu sweep`: one recipe with several values of its keys, and a comparison at the end."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acu_cli import terminal
from acu_cli.completion import recipe_names, set_keys
from acu_cli.series_options import AsJson, Data, Device, Download, DryRun, Jobs, with_jobs
from acu_cli.shell_words import joined
from acu_cli.training_progress import TrainingProgress

if TYPE_CHECKING:
    from acu_core.reproduce.sweep import Sweep
    from acu_core.reproduce.sweep_settings import SweepRequest


def sweep(
    recipe: Annotated[
        str, typer.Argument(help="A built-in recipe, or a TOML file.", autocompletion=recipe_names, show_default=False)
    ],
    over: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE,VALUE",
            help="Values to train with; several keys give every combination of their values.",
            autocompletion=set_keys,
            show_default=False,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value in every run; may be given several times.",
            autocompletion=set_keys,
        ),
    ] = None,
    in_step: Annotated[
        bool, typer.Option("--list", help="Not every combination: the first values together, then the second, ...")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Trainings of every setting, with seeds 0, 1, ...")] = 1,
    data: Data = None,
    download: Download = False,
    out: Annotated[Path | None, typer.Option(help="Directory of the runs. Default: sweeps/<recipe>.")] = None,
    device: Device = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Train a recipe with several values of its keys and several seeds, and compare the runs.

    Each setting and seed is a run of its own. Ctrl-C saves and stops; the same command goes on, and repeats nothing.
    """
    from acu_core.train.processes import refuse_several_processes

    refuse_several_processes()
    from acu_core.reproduce.sweep_settings import Axis, SweepRequest, sweep_settings

    axes = tuple(map(Axis.of, over))
    request = SweepRequest(recipe, axes, tuple(overrides or ()), in_step, seeds, data, out, device, download, jobs)
    command = _command(request)
    # Seconds, so that wrong arguments are answered first.
    sweep_settings(request)
    with TrainingProgress() as events:
        events.note("Starting PyTorch ...")
        from acu_core.reproduce.sweep import look
        from acu_core.reproduce.sweep import sweep as train_sweep

        if not dry_run:
            result = train_sweep(request, events=events)
    if dry_run:
        from acu_cli.reproduction_summary import print_plan

        head = {"made_by": command, "directory": str(request.directory), "seeds": seeds}
        print_plan(head, f"Sweep of {recipe}", *look(request), as_json=json)
    else:
        _conclude(request, result, command, as_json=json)


def _conclude(request: SweepRequest, sweep: Sweep, command: str, *, as_json: bool) -> None:
    """Prints the comparison. Ends with 128 + the signal's number if stopped, with 1 if a run is not finished."""
    from acu_cli.commands.compare import show
    from acu_core.report import comparison_text
    from acu_core.report.comparison import compare

    comparison = compare(run.path for run in sweep.runs if sweep.states[run.path].exists) if sweep.done else None
    if as_json:
        terminal.json(
            {
                "made_by": command,
                "directory": str(request.directory),
                "runs_planned": len(sweep.runs),
                "runs_finished": sweep.done,
                "finished": sweep.done == len(sweep.runs),
                "runs": [
                    {
                        "setting": run.row.name,
                        "seed": run.seed,
                        "run": str(run.path),
                        "finished": sweep.states[run.path].done,
                        "iteration": sweep.states[run.path].iteration,
                        "iterations": run.iterations,
                        "problem": sweep.problems.get(run.path),
                    }
                    for run in sweep.runs
                ],
                "comparison": comparison_text.as_json(comparison) if comparison is not None else None,
            }
        )
    else:
        if comparison is not None:
            show(comparison)
        terminal.print(f"{sweep.done} of {len(sweep.runs)} runs are done, in {request.directory}.")
    if sweep.stopped_by is not None:
        say = terminal.note if as_json else terminal.print
        say(f"Stopped by {sweep.stopped_by}; everything is saved. Go on with: {command}{with_jobs(request.jobs)}")
        raise typer.Exit(128 + signal.Signals[sweep.stopped_by].value)
    if sweep.done < len(sweep.runs):
        raise typer.Exit(1)


def _command(request: SweepRequest) -> str:
    """The command line that asks for the same; it goes on with what was stopped."""
    words: list[str | Path] = ["acu", "sweep", request.recipe]
    for axis in request.axes:
        words += ["--over", f"{axis.key}={','.join(axis.values)}"]
    for override in request.overrides:
        words += ["--set", override]
    words += [*(["--list"] if request.in_step else []), "--seeds", str(request.seeds)]
    for option, value in (("--data", request.data), ("--out", request.out), ("--device", request.device)):
        words += [option, value] if value is not None else []
    return joined([*words, *(["--download"] if request.download else [])])
