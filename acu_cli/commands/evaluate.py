"""`acu evaluate`."""

from __future__ import annotations


def evaluate() -> None:
    """Evaluate a run."""
