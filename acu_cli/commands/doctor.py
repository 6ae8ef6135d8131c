"""`acu doctor`."""

from __future__ import annotations


def doctor() -> None:
    """Check the installation."""
