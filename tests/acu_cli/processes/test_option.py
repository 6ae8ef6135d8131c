"""`--processes`: what is refused before a process is started, and what is typed to go on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from acu_cli.app import main
from acu_cli.processes.commands import go_on_command
from acu_cli.processes.messages import LAUNCHER
from acu_cli.processes.processors import share_of_processors
from acu_core.learn.announcement import announced

TORCHRUN = {"WORLD_SIZE": "4", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("device", "gpus", "sentence"),
    [
        ("cuda", 1, "--processes 3 needs as many GPUs, and there is 1 here"),
        ("auto", 2, "--processes 3 needs as many GPUs, and there are 2 here"),
    ],
)
def test_more_processes_than_gpus(
    device: str,
    gpus: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The machine that tests need not have any."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(sys, "argv", ["acu", "train", "planted", "--device", device, "--processes", "3"])
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert list(tmp_path.iterdir()) == []


def test_what_is_typed_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, LAUNCHER):
        monkeypatch.delenv(name, raising=False)
    assert go_on_command("my run") == "acu train --resume 'my run'"
    assert go_on_command("run", 3) == "acu train --resume run --processes 3"
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert announced() is not None
    assert go_on_command("run") == "torchrun ... -m acu_cli train --resume run"
    monkeypatch.setenv(LAUNCHER, "1 /nowhere")
    assert go_on_command("run") == "acu train --resume run --processes 4"


def test_every_process_gets_a_processor() -> None:
    assert share_of_processors(1) >= 1
    assert share_of_processors(1) // 2 <= share_of_processors(2) <= share_of_processors(1)
    assert share_of_processors(100_000) == 1
