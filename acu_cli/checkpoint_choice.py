"""Which checkpoint of a run an option names."""

from __future__ import annotations

from typing import Literal


def chosen_iteration(text: str | None) -> int | Literal["best"] | None:
    """What --iteration says: a number, `best`, or nothing. Raises UserError for anything else."""
    from acu_core.errors import UserError

    if text is None:
        return None
    if text == "best":
        return "best"
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UserError(f"--iteration is the number of an iteration, or best, not {text[:40]!r}")
    return int(text)
