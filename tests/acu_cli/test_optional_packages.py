"""imageio-ffmpeg is for video, torchvision for its data sets and models: without them everything else works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

# Commands in one process, which starts PyTorch once.
PROGRAM = """
import sys

MISSING, COMMANDS, RAISED = sys.argv[1].split(","), sys.argv[2], sys.argv[3]

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise {"ImportError": ImportError, "RuntimeError": RuntimeError, "OSError": OSError}[RAISED](f"no {name}")

sys.meta_path.insert(0, Blocked())
import json
from acu_cli.app import main

for command in json.loads(COMMANDS):
    sys.argv = ["acu", *command]
    try:
        main()
        status = 0
    except SystemExit as exit:
        status = exit.code or 0
    print(f"[{command[0]}: {status}]", flush=True)
"""
TINY = [
    *("--set", "data.options={train_count=200, test_count=50}", "--set", "data.batch_size=16"),
    *("--set", "schedule.iterations=6", "--set", "schedule.warm_up=2", "--set", "schedule.divisions=[]"),
    *("--set", "machine.device=cpu", "--set", "machine.threads=1", "--set", "compare_frozen=true"),
]
EVERYTHING = [
    ["--help"],
    ["doctor"],
    ["recipes", "check", "planted"],
    ["train", "--out", "run", *TINY],
    ["evaluate", "run"],
    ["animate-shapes", "run", "-o", "shapes.gif"],
    ["animate-shapes", "run", "-o", "shapes.webp"],
    ["animate-shapes", "run", "-o", "shapes.png"],
    ["report", "run"],
    ["animate-shapes", "run", "-o", "moving.png", "--frames", "3"],
    ["round-and-finetune", "run", "--iterations", "2", "--out", "rounded"],
    ["export", "run", "-o", "network.safetensors"],
    ["export", "run", "-o", "network.pt2", "--form", "dense"],
    ["export", "run", "-o", "network.onnx", "--form", "dense"],
    ["bench", "op", "--shape", "2,4,4,6,6,9,1", "--rounds", "2", "--quick"],
]


def without(packages: str, commands: list[list[str]], cwd: Path, raised: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", PROGRAM, packages, json.dumps(commands), raised]
    return subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False)


def test_everything_works_without_torchvision_and_ffmpeg(tmp_path: Path) -> None:
    done = without("torchvision,imageio_ffmpeg", EVERYTHING, tmp_path, "ImportError")
    assert done.returncode == 0, done.stdout + done.stderr
    ended = [line for line in done.stdout.splitlines() if line.startswith("[") and line.endswith("]")]
    assert ended == [f"[{command[0]}: 0]" for command in EVERYTHING], done.stdout + done.stderr
    for name in (
        "shapes.gif",
        "shapes.webp",
        "shapes.png",
        "moving.png",
        "network.safetensors",
        "network.pt2",
        "network.onnx",
    ):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize("raised", ["ImportError", "RuntimeError", "OSError"])
def test_the_bench_leaves_out_what_does_not_load(tmp_path: Path, raised: str) -> None:
    command = ["bench", "op", "--shape", "2,4,4,6,6,9,1", "--rounds", "2", "--json"]
    done = without("torchvision", [command], tmp_path, raised)
    assert "[bench: 0]" in done.stdout, done.stdout + done.stderr
    assert "deform_conv2d is left out: torchvision does not load here (no torchvision" in " ".join(done.stderr.split())
    assert '"dense kernel"' in done.stdout
    assert '"deform_conv2d"' not in done.stdout


def test_a_video_needs_its_package(tmp_path: Path) -> None:
    commands = [["train", "--out", "run", *TINY]]
    commands += [["animate-shapes", "run", "-o", f"shapes{suffix}"] for suffix in (".mp4", ".webm")]
    done = without("imageio_ffmpeg", commands, tmp_path, "ImportError")
    assert "[train: 0]" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("[animate-shapes: 2]") == 2, done.stdout + done.stderr
    for suffix in (".mp4", ".webm"):
        assert f"{suffix} needs imageio-ffmpeg: pip install" in " ".join(done.stderr.split())
        assert not (tmp_path / f"shapes{suffix}").exists()


def test_numbers_need_pyarrow_for_parquet_alone(tmp_path: Path) -> None:
    with SnapshotWriter.create(tmp_path / "shapes.bin", [LayerEntry("conv", 1, 9)]) as writer:
        writer.append(0, [np.zeros((1, 9, 2))], [np.ones((1, 9))])
    files = ["shapes.csv", "shapes.npz", "shapes.parquet"]
    commands = [["positions", "shapes.bin", "-o", name] for name in files]
    done = without("pandas,pyarrow", commands, tmp_path, "ImportError")
    ended = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert ended == ["[positions: 0]", "[positions: 0]", "[positions: 2]"], done.stdout + done.stderr
    assert "Parquet needs pyarrow, which is not installed: pip install" in " ".join(done.stderr.split())
    assert [(tmp_path / name).exists() for name in files] == [True, True, False]
