"""`acu plan`: what a training will take."""

from __future__ import annotations

from json import dumps
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.completion import recipe_names, set_keys
from acu_cli.series_options import AsJson, Data, Device


def plan(
    recipe: Annotated[
        str, typer.Argument(help="A built-in recipe, or a TOML file.", autocompletion=recipe_names, show_default=False)
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value of the recipe; may be given several times.",
            autocompletion=set_keys,
        ),
    ] = None,
    data: Data = None,
    device: Device = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=65_536,
            help="Processes that train together; where this machine has no processor or GPU for each, one is measured.",
        ),
    ] = 1,
    bandwidth: Annotated[
        float | None,
        typer.Option(
            min=1e-3, max=1e6, help="Gigabytes a second between processes that are not all here.", show_default=False
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Say how long a training takes on this machine, how much memory and disk, and when it would end.

    It is trained for some seconds, on its data where they are here, else on made-up images. No run is left.
    """
    from acu_core.errors import Action, Remedy, UserError
    from acu_core.recipe.recipe_file import load_recipe

    changes = [*(overrides or []), *([f"machine.device={dumps(device)}"] if device is not None else [])]
    loaded = load_recipe(recipe, changes)
    terminal.note("Starting PyTorch ...")
    from acu_cli import plan_summary
    from acu_cli.training_progress import TrainingProgress
    from acu_core.forecast.plan import plan_training

    try:
        with TrainingProgress() as events:
            planned = plan_training(
                loaded,
                data_path=data,
                processes=processes,
                bandwidth=None if bandwidth is None else bandwidth * 1e9,
                events=events,
            )
    except UserError as error:
        # A plan downloads nothing: it has no such option.
        remedies = (
            Remedy(Action.NAME_DATA, one.subject) if one.action is Action.DOWNLOAD else one for one in error.remedies
        )
        raise UserError(str(error), *remedies) from error
    if json:
        terminal.json(plan_summary.as_json(planned))
    else:
        plan_summary.show(planned)
