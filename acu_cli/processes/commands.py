"""What to type to go on with a run, by as many processes as train it now."""

from __future__ import annotations

import os

from acu_cli.processes.messages import LAUNCHER
from acu_cli.shell_words import quoted


def go_on_command(run: str, processes: int | None = None) -> str:
    """The command line that goes on with `run`; `processes` are those that this one is one of, where none are given."""
    size = os.environ.get("WORLD_SIZE", "")
    if processes is None and size.isdecimal() and int(size) > 1:
        if LAUNCHER not in os.environ:
            return f"torchrun ... -m acu_cli train --resume {quoted(run)}"
        processes = int(size)
    several = f" --processes {processes}" if processes is not None and processes > 1 else ""
    return f"acu train --resume {quoted(run)}{several}"
