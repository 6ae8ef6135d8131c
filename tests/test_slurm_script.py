"""The script of docs/distributed.md, by a shell that finds other commands under Slurm's names."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

from typer.main import get_command

from acu_cli.app import app

SCRIPT = Path(__file__).parent.parent / "docs" / "slurm" / "train.sbatch"
COMMANDS = {
    # The step: one that saves at SIGTERM, as torchrun's processes do.
    "srun": """trap 'echo saved; exit 143' TERM
echo $$ > step; printf '%s\\n' "$@" > words; [ -e done ] && exit 0; while :; do sleep 0.05; done""",
    "scontrol": """[ "$1" = show ] && printf 'node0\\nnode1\\n' || echo "$@" """,
    "scancel": 'echo "$@"; kill -TERM "$(cat step)"',
}


def start(directory: Path) -> subprocess.Popen[str]:
    commands = directory / "commands"
    commands.mkdir()
    for name, text in COMMANDS.items():
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "node[0-1]", "SLURM_JOB_NUM_NODES": "2"}
    return subprocess.Popen(
        ["bash", str(SCRIPT), "planted", "a run", "--seed", "1"],
        cwd=directory,
        env={**os.environ, **job, "PATH": f"{commands}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_before_the_limit_all_is_saved_and_the_job_is_queued_again(tmp_path: Path) -> None:
    job = start(tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "words").exists() or not (tmp_path / "words").read_text().endswith("1\n"):
            assert time.monotonic() < deadline, job.poll()
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
        out, _ = job.communicate(timeout=60)
    finally:
        job.kill()
    assert (out.splitlines(), job.returncode) == (["--signal=TERM 77.0", "saved", "requeue 77"], 0)


def test_what_it_starts_is_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "done").touch()
    job = start(tmp_path)
    assert (job.communicate(timeout=60)[0], job.returncode) == ("", 0)
    words = (tmp_path / "words").read_text().splitlines()
    assert "--rdzv-endpoint=node0:29500" in words
    acu = words[words.index("acu_cli") + 1 :]
    assert shlex.join(acu) == "train planted --out 'a run' --continue --seed 1"
    command = get_command(app).commands[acu[0]]  # type: ignore[attr-defined]
    command.make_context(acu[0], acu[1:])
