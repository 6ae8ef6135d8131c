"""The script that shows a network, data and a loop of one's own runs from end to end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

SCRIPT = Path(__file__).parent.parent / "docs" / "own_network.py"
FULL = "ITERATIONS, WARM_UP = 600, 100"


def test_it_runs_and_leaves_what_it_says(tmp_path: Path) -> None:
    text = SCRIPT.read_text()
    assert FULL in text
    (tmp_path / "own_network.py").write_text(text.replace(FULL, "ITERATIONS, WARM_UP = 25, 10"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "own_network.py"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"accuracy with frozen shapes \d+\.\d%, with learned ones \d+\.\d%", done.stdout)
    assert "25 snapshots of 0, 3" in done.stdout
    assert "rounding" in done.stdout
    with Image.open(tmp_path / "shapes.gif") as picture:
        assert picture.n_frames > 1
    state = torch.load(tmp_path / "network.pt", weights_only=True)
    assert not any("positions" in name for name in state), "an ordinary network"


def test_it_is_linked() -> None:
    assert "own_network.py" in (SCRIPT.parent / "layer.md").read_text()
