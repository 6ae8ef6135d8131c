"""Small networks whose shapes are recorded, and what was recorded of them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import torch
from torch import nn

from acu_core import ActiveConv2d
from acu_core.runs.snapshot_file import SnapshotFile


def network(outputs: int = 4) -> nn.Sequential:
    return nn.Sequential(ActiveConv2d(2, 4, 3, padding=1), nn.ReLU(), ActiveConv2d(4, outputs, 3, position_groups=2))


def move(model: nn.Module) -> None:
    """As a step does: everything changes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01


def recorded(path: Path) -> list[int]:
    return [int(iteration) for iteration in SnapshotFile(path).iterations]


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


PROGRAM = """
import os, signal, sys
import torch
from torch import nn
from acu_core import ActiveConv2d, ShapeRecorder

shapes = ShapeRecorder(nn.Sequential(ActiveConv2d(1, 2, 3)), sys.argv[1])
for iteration in range(1, 601):
    shapes.record(iteration)
"""
