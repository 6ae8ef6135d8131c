"""`acu reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acu_cli.completion import table_names
from acu_cli.series_options import AsJson, Data, Device, Download, DryRun, Jobs
from acu_cli.shell_words import joined
from acu_cli.training_progress import TrainingProgress


def reproduce(
    table: Annotated[
        str,
        typer.Argument(
            help="cifar10, cifar100, ablation, places365, small or small-fashion.", autocompletion=table_names
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Trainings of every row, with seeds 0, 1, ...")] = 1,
    scale: Annotated[
        float, typer.Option(help="Shorten every schedule alike, for a trial: 0.05 trains a twentieth as long.")
    ] = 1.0,
    data: Data = None,
    download: Download = False,
    out: Annotated[Path | None, typer.Option(help="Directory of the runs. Default: reproductions/<table>.")] = None,
    device: Device = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Train every row of a table of the paper, and print it beside the paper's figures; or of one for laptops.

    Each row and seed is a run of its own. Ctrl-C saves and stops; the same command goes on, and repeats nothing.
    """
    from acu_core.train.processes import refuse_several_processes

    refuse_several_processes()
    from acu_core.reproduce.tables import find_table

    find_table(table)
    # Seconds, so that wrong arguments are answered first.
    from acu_core.reproduce.scaling import check_scale

    check_scale(scale)
    with TrainingProgress() as events:
        events.note("Starting PyTorch ...")
        from acu_core.reproduce.reproduction import Request, look
        from acu_core.reproduce.reproduction import reproduce as train_table

        command = _command(table, seeds, scale, data, out, device, download)
        request = Request(table, seeds, scale, data, out, device, download, command, jobs)
        if not dry_run:
            reproduction = train_table(request, events=events)
    from acu_cli import reproduction_summary

    if dry_run:
        reproduction_summary.announce(request, *look(request), as_json=json)
    else:
        reproduction_summary.conclude(request, reproduction, as_json=json)


def _command(
    table: str, seeds: int, scale: float, data: Path | None, out: Path | None, device: str | None, download: bool
) -> str:
    """The command line that asks for the same, whatever was left to the defaults; it goes on with what was stopped."""
    words: list[str | Path] = ["acu", "reproduce", table, "--seeds", str(seeds)]
    # Every digit: another scale is another table.
    words += ["--scale", repr(scale)] if scale != 1 else []
    for option, value in (("--data", data), ("--out", out), ("--device", device)):
        words += [option, value] if value is not None else []
    return joined([*words, *(["--download"] if download else [])])
