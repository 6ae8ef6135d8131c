"""A recorder's file may have any name: what is made of it never replaces it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acu_core.errors import UserError
from acu_core.render.animation import render_animation
from acu_core.report.page import default_page, write_page
from acu_core.runs.shape_export import export_shapes
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

MAKERS: dict[str, Callable[[Path, Path], object]] = {
    ".gif": render_animation,
    ".png": render_animation,
    ".html": write_page,
    ".csv": export_shapes,
}


@pytest.mark.parametrize("suffix", MAKERS)
@pytest.mark.parametrize("linked", [False, True])
def test_the_recording_is_not_replaced(tmp_path: Path, suffix: str, linked: bool) -> None:
    path = tmp_path / f"shapes{suffix}"
    with SnapshotWriter.create(path, [LayerEntry("conv", 1, 9)]) as writer:
        writer.append(0, [np.zeros((1, 9, 2))], [np.ones((1, 9))])
    before, output = path.read_bytes(), path
    if linked:
        output = tmp_path / f"link{suffix}"
        output.symlink_to(path)
    with pytest.raises(UserError, match="is the recording itself, which would be lost: give another name"):
        MAKERS[suffix](path, output)
    assert path.read_bytes() == before


def test_nor_by_default(tmp_path: Path) -> None:
    path = tmp_path / "shapes.html"
    with SnapshotWriter.create(path, [LayerEntry("conv", 1, 9)]) as writer:
        writer.append(0, [np.zeros((1, 9, 2))], [np.ones((1, 9))])
    with pytest.raises(UserError, match="is the recording itself"):
        write_page(path, default_page(path))
