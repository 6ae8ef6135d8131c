"""How a run is doing."""

from __future__ import annotations

import enum


class Condition(enum.Enum):
    """How a run is doing."""

    WAITING = "waiting"
    """It has no iteration yet."""
    TRAINING = "training"
    STOPPED = "stopped"
    FINISHED = "finished"
