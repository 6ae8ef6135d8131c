"""How many processes were started together, for what cannot be shared out. Imports nothing heavy: it is asked first."""

from __future__ import annotations

import os

from acu_core.errors import UserError


def refuse_several_processes() -> None:
    """Raises UserError where torchrun or the like started several processes: each would train the same run alone."""
    number = os.environ.get("WORLD_SIZE", "").strip()
    if number.isdecimal() and int(number) > 1:
        raise UserError(
            f"training by several processes is not supported for a series of runs, and WORLD_SIZE is {number}: start "
            "one process, without torchrun, or unset WORLD_SIZE"
        )
