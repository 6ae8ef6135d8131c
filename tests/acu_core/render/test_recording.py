from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acu_core.errors import UserError
from acu_core.render.recording import load_recording
from acu_core.runs import LayerEntry, RunDirectory, SnapshotWriter

MakeRecording = Callable[..., Path]


def test_iterations_and_layers_are_chosen(make_recording: MakeRecording) -> None:
    path = make_recording(3, hidden=np.zeros((1, 9, 2)).tolist())
    recording = load_recording(path, first=10, last=20, layers=["conv2", "*0"])
    assert recording.iterations.tolist() == list(range(10, 21))
    assert list(recording.positions) == ["conv0", "conv2"]
    assert recording.positions["conv0"].shape == (11, 1, 9, 2)
    assert recording.warm_up == 40
    assert recording.hidden is not None
    assert recording.hidden.shape == (1, 9, 2)
    assert recording.all_synapses().shape == (11, 18, 2)


def test_what_cannot_be_drawn_is_said(make_recording: MakeRecording, tmp_path: Path) -> None:
    path = make_recording(2)
    with pytest.raises(UserError, match=r"'conv7'.*conv0, conv1"):
        load_recording(path, layers=["conv0", "conv7"])
    with pytest.raises(UserError, match="no layer was chosen"):
        load_recording(path, layers=[])
    with pytest.raises(UserError, match="300 and last: it has 0 to 200"):
        load_recording(path, first=300)
    with pytest.raises(UserError, match="there is no run"):
        load_recording(tmp_path / "none")
    with pytest.raises(UserError, match="no snapshots"):
        load_recording(RunDirectory.create(tmp_path / "run", "", {}))
    with SnapshotWriter.create(tmp_path / "base.bin", []) as writer:
        writer.append(0, [], [])
    with pytest.raises(UserError, match="ordinary convolutions"):
        load_recording(tmp_path / "base.bin")
    with SnapshotWriter.create(tmp_path / "odd.bin", [LayerEntry("a", 1, 1)]) as writer:
        with pytest.raises(UserError, match="no snapshot yet"):
            load_recording(tmp_path / "odd.bin")
        writer.append(0, [np.zeros((1, 1, 2))], [np.zeros((1, 1))])
        writer.append(1, [np.full((1, 1, 2), np.nan)], [np.zeros((1, 1))])
    with pytest.raises(UserError, match="positions of a are not finite"):
        load_recording(tmp_path / "odd.bin")
    assert len(load_recording(tmp_path / "odd.bin", last=0).iterations) == 1


@pytest.mark.parametrize("hidden", ["x", [[1]], [[[float("1e400"), 0]]], {}])
def test_hidden_positions_that_make_no_sense_are_left_out(make_recording: MakeRecording, hidden: object) -> None:
    if hidden == [[[float("inf"), 0]]]:
        hidden = [[["inf", 0]]]
    assert load_recording(make_recording(1, hidden=hidden)).hidden is None
