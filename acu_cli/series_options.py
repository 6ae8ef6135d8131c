"""The options of the commands that train a series of runs: the same words, and the same bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path | None, typer.Option(help="The data set: a file or a folder.")]
Download = Annotated[bool, typer.Option("--download", help="Download the data set if it is not there.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:<number>.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list the runs, and how long they would take.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
