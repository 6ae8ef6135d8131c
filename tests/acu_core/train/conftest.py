from __future__ import annotations

from pathlib import Path

import pytest

from acu_core.train import shape_recorder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shapes.bin"


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written because time has passed."""
    monkeypatch.setattr(shape_recorder, "BLOCK_SECONDS", 1e9)
