"""`acu round-and-finetune`."""

from __future__ import annotations


def round_and_finetune() -> None:
    """Round a run."""
