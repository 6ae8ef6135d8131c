"""What `--json` prints is one object for every command, also where the command fails: docs/json.md is its table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from acu_cli import terminal


def is_wanted(words: Sequence[str]) -> bool:
    """Whether the words after `acu` ask for JSON."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def command_of(app: typer.Typer, words: Sequence[str]) -> str:
    """The command that the words after `acu` name, such as `bench op`; empty where they name none."""
    command: Any = typer.main.get_command(app)
    names: list[str] = []
    for word in words:
        if word.startswith("-"):
            continue
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        names.append(word)
    return " ".join(names)


def run(app: typer.Typer) -> None:
    """Runs the command that is named, and leaves by `SystemExit`; wrong usage is told as an error like any other."""
    try:
        status = app(standalone_mode=False)
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        # The classes are Click's, or of Typer's own copy of it.
        said, code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
        if said is None or code is None:
            raise
        terminal.error(str(said()).strip().splitlines()[0].rstrip("."))
        sys.exit(code)
    sys.exit(status if isinstance(status, int) else 0)


def conclude(status: object) -> None:
    """Prints the error of a command that ends with `status` without having printed its object."""
    if status not in (None, 0) and not terminal.has_printed_json():
        failure = terminal.failure() or {"message": f"it ended with status {status}", "remedies": []}
        terminal.json({"error": failure})


def named_runs(sources: Sequence[Path]) -> dict[str, object]:
    """`run` where there is one source and it is a run, `runs` where there are several; nothing for other files."""
    if len(sources) == 1:
        return {"run": str(sources[0])} if sources[0].is_dir() else {}
    return {"runs": [{"run": str(source)} for source in sources]}
