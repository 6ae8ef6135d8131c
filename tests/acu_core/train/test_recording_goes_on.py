"""A file that is there already: gone on with after an iteration, or refused and kept."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded_networks import PROGRAM, move, network, recorded
from torch import nn

from acu_core import ActiveConv2d, ShapeRecorder, read_shapes
from acu_core.errors import UserError
from acu_core.runs.snapshot_file import SnapshotFile


def test_an_existing_file_is_refused_and_stays(path: Path) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(UserError, match=r"shapes.bin exists already .* give resume_after"):
        ShapeRecorder(network(), path)
    with pytest.raises(UserError, match="exists already"):
        ShapeRecorder(network(), path, resume_after=0)
    with pytest.raises(UserError, match="is not a snapshot file"):
        ShapeRecorder(network(), path, resume_after=3)
    assert path.read_bytes() == b"precious"
    with pytest.raises(UserError, match=r"cannot be written: No such file"):
        ShapeRecorder(network(), path.parent / "none" / "shapes.bin")


def test_going_on_cuts_what_lies_beyond_and_appends(path: Path) -> None:
    model = network()
    with ShapeRecorder(model, path, warm_up=2) as shapes:
        for iteration in (0, 10, 20, 30):
            shapes.record(iteration)
            move(model)
    whole = path.read_bytes()
    with ShapeRecorder(model, path, warm_up=2, resume_after=25) as shapes:
        assert recorded(path) == [0, 10, 20]
        assert whole.startswith(path.read_bytes())
        assert shapes.last_iteration == 20
        with pytest.raises(UserError, match="20 was to be recorded after 20"):
            shapes.record(20)
        shapes.record(26)
    assert recorded(path) == [0, 10, 20, 26]
    with (
        pytest.warns(UserWarning, match=r"ends with iteration 26, and the training goes on after 1000") as warned,
        ShapeRecorder(model, path, warm_up=2, resume_after=1000) as shapes,
    ):
        shapes.record(1001)
    assert warned[0].filename == __file__
    assert recorded(path) == [0, 10, 20, 26, 1001]


def test_going_on_without_a_file_begins_one(path: Path) -> None:
    with ShapeRecorder(network(), path, resume_after=100) as shapes:
        shapes.record(101)
    assert recorded(path) == [101]
    path.write_bytes(path.read_bytes()[:30])  # killed while the header was written
    with ShapeRecorder(network(), path, resume_after=100) as shapes:
        shapes.record(101)
    assert recorded(path) == [101]


def test_a_gap_is_no_gap_where_so_few_iterations_are_kept(path: Path) -> None:
    with ShapeRecorder(network(), path, every=10) as shapes:
        for iteration in range(1, 29):
            shapes.record(iteration)
    # Warnings are errors here.
    ShapeRecorder(network(), path, every=10, resume_after=29).close()
    # As they were recorded, whatever `every` says.
    ShapeRecorder(network(), path, resume_after=29).close()
    with pytest.warns(UserWarning, match="ends with iteration 20"):
        ShapeRecorder(network(), path, every=10, resume_after=30).close()
    ShapeRecorder(network(), path.with_name("b.bin")).close()
    with pytest.warns(UserWarning, match="has no snapshot, and the training goes on after 2"):
        ShapeRecorder(network(), path.with_name("b.bin"), resume_after=2).close()


@pytest.mark.parametrize("after", [None, 7])
def test_a_link_to_nothing_is_refused_for_what_it_is(path: Path, after: int | None) -> None:
    path.symlink_to(path.with_name("gone.bin"))
    with pytest.raises(UserError, match="is a link to a file that is not there"):
        ShapeRecorder(network(), path, resume_after=after)
    assert path.is_symlink()


@pytest.mark.parametrize("length", [0, 30])
def test_what_was_killed_in_its_header_is_begun_anew(path: Path, length: int) -> None:
    ShapeRecorder(network(), path).close()
    path.write_bytes(path.read_bytes()[:length])
    with ShapeRecorder(network(), path) as shapes:
        shapes.record(0)
    assert recorded(path) == [0]


@pytest.mark.parametrize("after", [None, 5])
def test_a_file_that_is_being_recorded_into_is_refused_and_read(path: Path, after: int | None) -> None:
    with ShapeRecorder(network(), path) as shapes:
        for iteration in range(10):
            shapes.record(iteration)
        shapes.flush()
        message = "another recorder of this one, is recording into .*shapes.bin" if after else "exists already"
        with pytest.raises(UserError, match=message):
            ShapeRecorder(network(), path, resume_after=after)
        assert read_shapes(path).iterations.tolist() == list(range(10))
        shapes.record(10)
    assert recorded(path) == list(range(11))
    # Let go of, by the one that was refused too.
    ShapeRecorder(network(), path, resume_after=5).close()
    assert recorded(path) == list(range(6))


def test_a_killed_process_lets_go_of_its_file_even_where_its_workers_live(path: Path) -> None:
    fork = """
    shapes.flush()
    if os.fork() == 0:
        os.close(1)
        os.close(2)
        sys.stdin.read()
        os._exit(0)
    print("recording", flush=True)
    signal.pause()
    """
    command = [sys.executable, "-c", PROGRAM + textwrap.dedent(fork), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "recording\n"
        model = nn.Sequential(ActiveConv2d(1, 2, 3))
        with pytest.raises(UserError, match="another process"):
            ShapeRecorder(model, path, resume_after=600)
        process.kill()
        process.wait()
        # The worker waits for an input that is still open.
        ShapeRecorder(model, path, resume_after=600).close()
    assert len(recorded(path)) == 600


def renamed() -> nn.Module:
    model = network()
    return nn.ModuleDict({"0": model[0], "other": model[2]})


@pytest.mark.parametrize(
    ("other", "warm_up", "difference"),
    [
        (renamed, 0, "of another network: it has no layer other"),
        (lambda: network()[:1], 0, "of another network: this one has no layer 2"),
        (
            lambda: nn.Sequential(ActiveConv2d(2, 4, 3), nn.ReLU(), ActiveConv2d(4, 4, 5, position_groups=2)),
            0,
            r"of another network: 2 has positions \(2, 9, 2\) there, \(2, 25, 2\) here",
        ),
        (network, 5, "with a warm_up of 0, not 5"),
    ],
)
def test_going_on_with_another_network_names_the_difference(
    path: Path, other: Callable[[], nn.Module], warm_up: int, difference: str
) -> None:
    with ShapeRecorder(network(), path) as shapes:
        shapes.record(1)
        shapes.record(2)
    content = path.read_bytes()
    with pytest.raises(UserError, match=difference):
        ShapeRecorder(other(), path, resume_after=1, warm_up=warm_up)
    assert path.read_bytes() == content


@pytest.mark.parametrize("nonsense", [0, 10**6])
def test_going_on_with_a_damaged_file_is_refused(path: Path, nonsense: int) -> None:
    with ShapeRecorder(network(), path) as shapes:
        for iteration in range(10):
            shapes.record(iteration)
    content = bytearray(path.read_bytes())
    record = SnapshotFile(path).length_of(1) - SnapshotFile(path).length_of(0)
    start = SnapshotFile(path).length_of(3)
    content[start : start + 8] = nonsense.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"1 of 7 snapshots .* \(number 3,"):
        ShapeRecorder(network(), path, resume_after=6)
    assert path.read_bytes() == content
    # What is damaged beyond it is cut off, and a torn end too.
    path.write_bytes(content[: start + 2 * record + 17])
    ShapeRecorder(network(), path, resume_after=2).close()
    assert recorded(path) == [0, 1, 2]
