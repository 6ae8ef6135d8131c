"""Somebody who watches a training and remembers its warnings."""

from __future__ import annotations

from acu_core.train.events import NoEvents


class Warned(NoEvents):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, *remedies: object) -> None:
        self.warnings.append(text)
