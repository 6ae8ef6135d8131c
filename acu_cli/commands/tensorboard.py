"""`acu tensorboard`: runs as event files of TensorBoard."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acu_cli import terminal
from acu_cli.priority import give_way
from acu_cli.shell_words import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acu_core.report.event_file import EventFile

_SECONDS = 1.0
_FROZEN = "frozen"


def tensorboard(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Runs, or directories of runs.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The directory that TensorBoard is to show.", show_default=False),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what the runs still get, until they are finished or Ctrl-C.")
    ] = False,
    every: Annotated[int, typer.Option(min=1, help="Only iterations that are multiples of it, and evaluations.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write runs as event files of TensorBoard: losses, errors, rates, and how far each layer's synapses have moved.

    Only the runs' files are read, so a training goes on undisturbed.
    """
    from acu_cli.commands.compare import find
    from acu_core.report.event_file import EventFile, require_tensorboard

    require_tensorboard()
    named = _names(find(runs, frozen=True))
    files = {name: EventFile(run, output / name, every=every) for name, run in named.items()}
    for file in files.values():
        file.write()
    said: set[str] = set()
    if follow:
        give_way()
        # How one ends it: nothing went wrong.
        with suppress(KeyboardInterrupt):
            terminal.note(f"Following; Ctrl-C ends it. Look at it with: tensorboard --logdir {quoted(output)}")
            _follow(files, output, every, said)
    _report(files, output, said, json=json)


def _follow(files: dict[str, EventFile], output: Path, every: int, said: set[str]) -> None:
    """Writes what the runs still get; problems are told as they appear, and then in `said`."""
    from acu_core.report.event_file import EventFile

    while True:
        # Asked before the last look: what a run got up to its end is then in it.
        finished = all(_is_over(file, said) for file in list(files.values()))
        for name, file in list(files.items()):
            twin = file.run.path / _FROZEN
            if (twin / "recipe.toml").is_file() and f"{name}/{_FROZEN}" not in files:
                added = files[f"{name}/{_FROZEN}"] = EventFile(twin, output / name / _FROZEN, every=every)
                added.write()
                finished = False
            file.poll()
            _warn(file.problems, said)
        if finished:
            return
        time.sleep(_SECONDS)


def _is_over(file: EventFile, said: set[str]) -> bool:
    """Whether the run gets nothing more: it is finished, or damaged, and no process goes on with it."""
    from acu_cli.run_standing import DAMAGED, RunStanding
    from acu_cli.watch.condition import Condition

    standing = RunStanding.of(file.run.path)
    if standing.problem is not None and not file.problems:
        _warn([standing.problem], said)
    is_damaged = file.is_damaged or standing.condition == DAMAGED
    return standing.condition == Condition.FINISHED.value or (is_damaged and not file.run.is_locked)


def _warn(problems: Sequence[str], said: set[str]) -> None:
    for problem in problems:
        if problem not in said:
            said.add(problem)
            terminal.warning(problem)


def _names(runs: Sequence[Path]) -> dict[str, Path]:
    """Each run by what it is called in TensorBoard: its name, and as much before that as tells it from the others."""
    different = list(dict.fromkeys(run.resolve() for run in runs))
    most = max(len(run.parts) for run in different)
    for count in range(1, most + 1):
        named = {_name(run, count): run for run in different}
        if len(named) == len(different):
            break
    return named


def _name(run: Path, count: int) -> str:
    # A twin belongs below its run.
    parts = run.parts[1:]
    return "/".join(parts[-count - (parts[-1] == _FROZEN) :])


def _report(files: dict[str, EventFile], output: Path, said: set[str], *, json: bool) -> None:
    if json:
        entries = [
            {
                "run": str(file.run.path),
                "name": name,
                "path": str(file.path),
                "events": file.events,
                "iteration": file.iteration,
                "problems": file.problems,
            }
            for name, file in files.items()
        ]
        terminal.json({"directory": str(output), "runs": entries})
        return
    for name, file in files.items():
        terminal.print(f"{name}: {file.events:,} events up to iteration {file.iteration:,}, in {file.path}")
        _warn(file.problems, said)
    terminal.print(f"Look at it with: tensorboard --logdir {quoted(output)}")
