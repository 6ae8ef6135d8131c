"""The options of the commands that train a series of runs: the same words, and the same bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path | None, typer.Option(help="The data set: a file or a folder.")]
Download = Annotated[bool, typer.Option("--download", help="Download the data set if it is not there.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:<number> or mps.")]
Jobs = Annotated[
    int, typer.Option(min=1, max=64, help="How many runs are trained at once, each by a process; no result changes.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list the runs, and how long they take one at a time.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def with_jobs(jobs: int) -> str:
    """What is added to the command of a series, which is one whatever the number of jobs."""
    return f" --jobs {jobs}" if jobs > 1 else ""
