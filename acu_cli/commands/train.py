"""`acu train`."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from acu_cli.completion import recipe_names, set_keys
from acu_cli.training_progress import TrainingProgress
from acu_cli.training_summary import conclude


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
    data: Annotated[Path | None, typer.Option(help="The data set: an .npz file or a folder.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is not there.")] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run; --set schedule.iterations=N extends it.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the shapes and curves live, in place of the progress bar.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a network, by default on small built-in data, and say what it has learned.

    Ctrl-C saves and stops; --resume goes on with the same bits.
    """
    from acu_core.errors import UserError
    from acu_core.recipe.recipe_file import DEFAULT_RECIPE, load_recipe
    from acu_core.train.processes import refuse_several_processes
    from acu_core.train.run_recipe import check_extension

    refuse_several_processes()
    changes = list(overrides or [])
    if resume is not None:
        fixed = {"RECIPE": recipe, "--seed": seed, "--out": out}
        given = [name for name, value in fixed.items() if value is not None]
        if given:
            raise UserError(f"{', '.join(given)} cannot be given with --resume: the run says it already")
        check_extension(resume, changes)
    else:
        changes += [f"seed={seed}"] if seed is not None else []
        changes += [f"machine.device={dumps(device)}"] if device is not None else []
        loaded = load_recipe(recipe or DEFAULT_RECIPE, changes)
    with TrainingProgress(watch=watch) as events:
        events.note("Starting PyTorch ...")
        from acu_core.experiments import frozen_twin

        if resume is not None:
            report = frozen_twin.resume(
                resume, changes, data_path=data, download=download, device=device, events=events
            )
        else:
            report = frozen_twin.train(loaded, out, data_path=data, download=download, events=events)
    conclude(report, as_json=json)
