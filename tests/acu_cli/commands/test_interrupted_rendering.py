"""Drawing that is stopped at any moment, by real signals to real processes, and files that are not what they should."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from acu_core.bench.made_up_run import make_up_run
from acu_core.errors import UserError
from acu_core.render.animation import render_animation
from acu_core.render.recording import load_recording
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
    # Of a fork beside the threads of libraries.
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]
FRAMES, WIDTH = 20, 460


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_up_run(tmp_path_factory.mktemp("made-up") / "run", iterations=200, layers=2)


@contextlib.contextmanager
def process(target: Callable[[], object]) -> Iterator[multiprocessing.process.BaseProcess]:
    """A fork of this process, in a session of its own, that does nothing but `target`."""

    def alone() -> None:
        os.setsid()
        target()

    started = multiprocessing.get_context("fork").Process(target=alone)
    started.start()
    try:
        yield started
    finally:
        started.kill()
        started.join(30)


def session_of(pid: str) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[3])


def wait_until(met: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.01)


def processes_of(session: int) -> int:
    return sum(session_of(pid) == session for pid in os.listdir("/proc") if pid.isdigit())


def suffixes() -> list[str]:
    return [".gif", ".png", pytest.param(".mp4", marks=pytest.mark.skipif(not has_ffmpeg(), reason="no ffmpeg here"))]  # type: ignore[list-item]


def has_ffmpeg() -> bool:
    import importlib.util

    return importlib.util.find_spec("imageio_ffmpeg") is not None


@pytest.mark.parametrize("suffix", suffixes())
def test_a_kill_at_any_moment_leaves_a_whole_file(run: RunDirectory, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"shapes{suffix}"
    moments = random.Random(suffix)

    def draw() -> None:
        render_animation(run, output, frames=FRAMES, width=WIDTH)

    def draw_on_and_on() -> None:
        while True:
            draw()

    draw()
    whole = output.read_bytes()
    for _ in range(6):
        output.write_bytes(b"old")
        with process(draw_on_and_on) as drawing:
            assert drawing.pid is not None
            time.sleep(moments.uniform(0.02, 0.4))
            os.kill(drawing.pid, signal.SIGKILL)
            drawing.join(30)
            assert output.read_bytes() in (b"old", whole)
            # What it started ends by itself.
            wait_until(lambda session=drawing.pid: processes_of(session) == 0)  # type: ignore[misc]
        for left in tmp_path.iterdir():
            assert left == output or left.name.startswith(".acu-"), left
    draw()
    assert output.read_bytes() == whole
    # What the killed ones left is gone with the next file.
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("suffix", suffixes())
def test_a_full_disk_harms_nothing(run: RunDirectory, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"shapes{suffix}"
    output.write_bytes(b"old")
    said = tmp_path / "said"
    said.touch()

    def draw() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            render_animation(run, output, frames=FRAMES, width=WIDTH)
        except UserError as error:
            said.write_text(str(error))

    with process(draw) as drawing:
        drawing.join(60)
        assert drawing.exitcode == 0
    assert "cannot be" in said.read_text()
    assert "\n" not in said.read_text()
    assert output.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [said, output]


@pytest.mark.parametrize(("number", "suffix"), [(signal.SIGINT, ".gif"), (signal.SIGTERM, ".png")])
def test_the_command_ends_with_one_sentence(
    run: RunDirectory, tmp_path: Path, number: signal.Signals, suffix: str
) -> None:
    output = tmp_path / f"shapes{suffix}"
    output.write_bytes(b"old")
    command = [sys.executable, "-m", "acu_cli", "animate-shapes", str(run.path), "-o", str(output), "--frames", "9000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as drawing:
        # It draws once it has others to help it, if there are cores for them; else after a while.
        if len(os.sched_getaffinity(0)) > 1:
            wait_until(lambda: processes_of(drawing.pid) > 1)
        else:
            time.sleep(5)
        # As a terminal does it.
        os.killpg(drawing.pid, number)
        printed, said = drawing.communicate(timeout=30)
    assert drawing.returncode == 128 + number
    assert printed == ""
    *lines, last = said.splitlines()
    assert last == f"error: interrupted: {output} is as it was before"
    # How far it had come, which it says at once.
    assert all(line.startswith("drawing ") for line in lines)
    assert processes_of(drawing.pid) == 0
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_a_run_that_is_written_and_cut_meanwhile_is_always_drawn(tmp_path: Path) -> None:
    path = tmp_path / "positions.bin"
    layers = [LayerEntry("conv", 1, 9)]
    positions = np.random.default_rng(0).normal(size=(2000, 1, 9, 2))
    SnapshotWriter.create(path, layers).close()

    def write_and_cut() -> None:
        whole = SnapshotWriter.create(path, layers, replace=True)
        whole.append_block(np.arange(2000), [positions], [np.ones((2000, 1, 9))])
        record = 8 + 9 * 3 * 4 + 4
        shortest = whole.length - 1999 * record
        whole.close()
        while True:
            # As a resumed run does: back to its last checkpoint, and on from there.
            with SnapshotWriter.open_for_append(path, shortest) as writer:
                writer.cut()
                for start in range(1, 2000, 333):
                    part = slice(start, min(start + 333, 2000))
                    writer.append_block(
                        np.arange(part.start, part.stop), [positions[part]], [np.ones(positions[part].shape[:3])]
                    )

    def read() -> None:
        end = time.monotonic() + 2.0
        lengths = set()
        while time.monotonic() < end:
            recording = load_recording(path)
            count = len(recording.iterations)
            assert recording.iterations.tolist() == list(range(count))
            np.testing.assert_array_equal(recording.positions["conv"], positions[:count].astype(np.float32))
            lengths.add(count)
        assert len(lengths) > 1

    with process(write_and_cut):
        wait_until(lambda: path.stat().st_size > 1000)
        time.sleep(0.2)
        with process(read) as reader:
            reader.join(60)
            assert reader.exitcode == 0


def foreign(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))


def text(path: Path) -> None:
    path.write_text("iteration,loss\n")


def header_alone(path: Path) -> None:
    SnapshotWriter.create(path, [LayerEntry("conv", 1, 9)]).close()


def cut_header(path: Path) -> None:
    header_alone(path)
    os.truncate(path, 40)


def zeros(path: Path) -> None:
    with SnapshotWriter.create(path, [LayerEntry("conv", 1, 9)]) as writer:
        writer.append_block([0, 1, 2], [np.zeros((3, 1, 9, 2))], [np.zeros((3, 1, 9))])
        length = writer.length
    content = bytearray(path.read_bytes())
    content[length - 300 : length - 1] = bytes(299)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.touch, "ends inside its header"),
        (cut_header, "ends inside its header"),
        (header_alone, "has no snapshot yet"),
        (zeros, "has no snapshot yet"),
        (foreign, "is not a snapshot file"),
        (text, "is not a snapshot file"),
        (Path.mkdir, "is not a run, it has no recipe.toml"),
        (lambda path: None, "there is no run at"),
        (os.mkfifo, "it is not a regular file"),
    ],
)
@pytest.mark.parametrize("name", ["shapes.gif", "shapes.png", "shapes.pdf"])
def test_a_file_that_cannot_be_drawn_is_one_sentence(
    tmp_path: Path, make: Callable[[Path], object], said: str, name: str
) -> None:
    from acu_cli.app import app

    source, output = tmp_path / "positions.bin", tmp_path / "figures" / name
    make(source)
    before = sorted(tmp_path.iterdir())
    result = CliRunner().invoke(app, ["animate-shapes", str(source), "-o", str(output)])
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)
    assert sorted(tmp_path.iterdir()) == before
