from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import damage, write_run
from written_run import LAYERS, WrittenRun

from acu_core.errors import UserError
from acu_core.report import event_file
from acu_core.report.event_file import NAME, EventFile
from acu_core.runs.shapes import read_shapes

pytest.importorskip("tensorboard", reason="tensorboard is not installed")


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard's own reader finds there, by tag and step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader: Any = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    found = {}
    for tag in reader.Tags()["scalars"]:
        events = reader.Scalars(tag)
        found[tag] = {event.step: event.value for event in events}
        assert len(found[tag]) == len(events), f"{tag} has two values at one step"
    return found


def test_tensorboard_reads_what_the_run_has(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as run:
        run.go_on(30)
        run.evaluate(40)
        run.go_on(60)
    file = EventFile(tmp_path / "run", tmp_path / "out")
    file.write()
    found = scalars(tmp_path / "out")
    names = [layer.name for layer in LAYERS]
    steps = ["train/loss", "train/accuracy", "rate/weights", "rate/positions"]
    assert set(found) == {*steps, "test/error_percent", "test/loss", *(f"displacement/{name}" for name in names)}
    assert found["train/loss"] == pytest.approx({n: 2.0 / n for n in range(1, 61)})
    assert found["rate/weights"] == pytest.approx(dict.fromkeys(range(1, 61), 0.1))
    assert found["test/error_percent"] == {30: 40.0}
    shapes = read_shapes(tmp_path / "run")
    for name in names:
        positions = shapes.layers[name].positions.astype(float)
        moved = np.sqrt(np.square(positions - positions[0]).sum(axis=-1).mean(axis=(1, 2)))
        assert found[f"displacement/{name}"] == pytest.approx(dict(enumerate(moved.tolist())), abs=1e-6)
    assert moved[-1] > 0.1, "otherwise nothing was compared"
    assert (file.events, file.iteration, file.problems) == (60 + 1 + 61, 60, [])


def test_what_a_run_gets_is_added(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as run:
        file = EventFile(tmp_path / "run", tmp_path / "out")
        file.write()
        assert not file.poll()
        run.go_on(20)
        assert file.poll()
        before = file.path.read_bytes()
        assert not file.poll()
        run.go_on(35)
        run.evaluate(7)
        assert file.poll()
        assert file.path.read_bytes().startswith(before)
        file.close()
    found = scalars(tmp_path / "out")
    assert list(found["train/loss"]) == list(range(1, 36))
    assert list(found["displacement/stem"]) == list(range(36))
    assert found["test/error_percent"] == {35: 7.0}


def test_a_run_that_was_resumed_earlier_begins_again(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as run:
        run.go_on(10)
        run.go_on(20)
        run.evaluate(50)
        file = EventFile(tmp_path / "run", tmp_path / "out")
        file.write()
        run.cut(10)
        assert file.poll()
        run.go_on(15)
        file.poll()
        file.close()
    found = scalars(tmp_path / "out")
    assert list(found["train/loss"]) == list(range(1, 16))
    assert list(found["displacement/stem"]) == list(range(16))
    assert "test/error_percent" not in found or found["test/error_percent"] == {}


def test_written_twice_it_holds_everything_once(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as run:
        run.go_on(20)
    other = tmp_path / "out" / "events.out.tfevents.of.somebody"
    other.parent.mkdir()
    other.write_bytes(b"")
    for _ in range(2):
        EventFile(tmp_path / "run", tmp_path / "out").write()
    assert list(scalars(tmp_path / "out")["train/loss"]) == list(range(1, 21))
    assert sorted(path.name for path in other.parent.iterdir()) == sorted([NAME, other.name])


def test_every_tenth_iteration_and_all_evaluations(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as run:
        run.go_on(33)
        run.evaluate(7)
    EventFile(tmp_path / "run", tmp_path / "out", every=10).write()
    found = scalars(tmp_path / "out")
    assert list(found["train/loss"]) == [10, 20, 30]
    assert list(found["displacement/stem"]) == [0, 10, 20, 30]
    assert list(found["test/error_percent"]) == [33]
    with pytest.raises(UserError, match="every must be at least 1"):
        EventFile(tmp_path / "run", tmp_path / "out", every=0)


def test_a_long_run_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_file, "_SNAPSHOTS", 7)
    with WrittenRun(tmp_path / "run") as run:
        run.go_on(50)
    EventFile(tmp_path / "run", tmp_path / "out").write()
    assert list(scalars(tmp_path / "out")["displacement/stem"]) == list(range(51))


def test_what_is_damaged_is_said_and_the_rest_written(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as run:
        run.go_on(30)
    damage(run.run.metrics, run.run.metrics.stat().st_size // 2)
    damage(run.run.positions, -100)
    file = EventFile(tmp_path / "run", tmp_path / "out")
    file.write()
    found = scalars(tmp_path / "out")
    assert 5 < len(found["train/loss"]) < 25
    assert list(found["displacement/stem"]) == list(range(30))
    assert len(file.problems) == 2
    assert "metrics.jsonl is damaged" in file.problems[0]
    assert "1 snapshots of" in file.problems[1]


def test_a_line_that_acu_does_not_write(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0, {})
    (run / "metrics.jsonl").write_text('{"iteration": 1, "loss": "low"}\n')
    file = EventFile(run, tmp_path / "out")
    file.write()
    assert len(file.problems) == 1
    assert "is damaged: it has no" in file.problems[0]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0, 100)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        EventFile(run, tmp_path / "file" / "out").write()
    with pytest.raises(UserError, match="there is no run at"):
        EventFile(tmp_path / "none", tmp_path / "out")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_file, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"need tensorboard, which is not installed: pip install 'active-convolution\["):
        EventFile(tmp_path, tmp_path / "out")
