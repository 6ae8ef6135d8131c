"""`acu doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from acu_cli import terminal


def doctor(json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False) -> None:
    """Check this installation: one verdict a question, and what to do; exit status 1 if something is broken."""
    from acu_core.diagnosis import diagnose

    verdicts = diagnose()
    if json:
        terminal.json({"verdicts": [verdict.__dict__ for verdict in verdicts]})
    else:
        for verdict in verdicts:
            terminal.print(f"{verdict.verdict:<5} {verdict.question:<38} {verdict.answer}")
    if any(verdict.verdict == "no" for verdict in verdicts):
        raise typer.Exit(1)
