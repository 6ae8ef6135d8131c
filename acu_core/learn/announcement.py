"""The processes that a launcher announces in the environment, as torchrun does. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from acu_core.errors import UserError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Announcement:
    """One of `size` processes that train together: number `rank` of all, and number `local_rank` on its machine.

    `local_size` is the number of processes on the same machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def announced(environment: Mapping[str, str] = os.environ) -> Announcement | None:
    """What RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE say; None where one process trains alone.

    Raises UserError when they announce several processes and are not whole, or do not fit together.
    """
    size = _number(environment, "WORLD_SIZE", 1)
    if size == 1:
        return None
    missing = [name for name in _NEEDED if not environment.get(name, "").strip()]
    if missing:
        raise UserError(
            f"WORLD_SIZE announces {size} processes, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} "
            "not set: start them with torchrun, which sets all of these, or unset WORLD_SIZE"
        )
    rank = _number(environment, "RANK", 0)
    # Launchers other than torchrun may not say it; one process a machine is then the most harmless guess.
    local_rank = _number(environment, "LOCAL_RANK", 0)
    local_size = _number(environment, "LOCAL_WORLD_SIZE", local_rank + 1)
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size and local_rank <= rank):
        raise UserError(
            f"the environment announces process {rank} of {size}, number {local_rank} of {local_size} on this machine "
            "(RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE), which do not fit together: start them with torchrun"
        )
    return Announcement(rank, size, local_rank, local_size)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < (name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")):
        raise UserError(f"{name} is {text!r} in the environment, not a number of processes: unset it")
    return int(text)
