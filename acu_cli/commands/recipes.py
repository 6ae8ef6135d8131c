"""`acu recipes`."""

from __future__ import annotations

import typer

app = typer.Typer(help="List, copy and check recipes.", epilog="Example: acu recipes")


@app.command("list", epilog="Example: acu recipes list --json")
def list_recipes() -> None:
    """List the built-in recipes."""
