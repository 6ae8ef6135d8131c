"""Runs that were damaged: what is wrong is named, nothing is silently replaced, and a refusal changes nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from warned import Warned

from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.rounding import round_and_finetune
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.export.exported_run import export_run
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import list_checkpoints
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.timings import read_timings

Tiny = Callable[..., Recipe]
Content = Callable[[Path], dict[str, object]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny(), path)
    return path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def newest(run: Path) -> Path:
    return list_checkpoints(RunDirectory.open(run))[0][1]


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Writes a whole checkpoint with other content."""
    content = torch.load(path, weights_only=True)
    edit(content)
    torch.save(content, path)


def files(run: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file() and p.name != ".lock"}


def refused(run: Path, message: str, overrides: tuple[str, ...] = ("schedule.iterations=14",)) -> None:
    before = files(run)
    with pytest.raises(UserError, match=message) as raised:
        resume(run, overrides)
    assert "\n" not in str(raised.value).strip()[:80]
    assert files(run) == before, "a refused resume changes nothing"


def test_a_flipped_byte_in_the_newest_checkpoint_is_warned_of_by_all_who_read_it(run: Path, tmp_path: Path) -> None:
    path = newest(run)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    older = list_checkpoints(RunDirectory.open(run))[1][0]
    readers: list[Callable[[Warned], object]] = [
        lambda events: evaluate_run(run, events=events),
        lambda events: export_run(run, tmp_path / "network.pt2", check=False, events=events),
        lambda events: round_and_finetune(run, tmp_path / "child", iterations=1, events=events),
    ]
    for read in readers:
        events = Warned()
        read(events)
        assert any(path.name in text and f"iteration {older}" in text for text in events.warnings)
    for read_one in (evaluate_run, lambda run, iteration: export_run(run, tmp_path / "n.pt2", iteration=iteration)):
        with pytest.raises(UserError, match=path.name):
            read_one(run, iteration=12)


@pytest.mark.parametrize("kind", ["iteration", "log_lengths", "text", "nan"])
def test_wrong_content_is_passed_over_with_a_warning_and_the_run_ends_the_same(
    run: Path, whole: Path, content: Content, kind: str
) -> None:
    def edit(values: dict[str, Any]) -> None:
        if kind == "iteration":
            values["iteration"] = 3
        elif kind == "nan":
            next(iter(values["state"]["model"].values())).view(-1)[0] = float("nan")
        else:
            values["log_lengths"]["metrics"] = 0 if kind == "log_lengths" else "all"

    path = newest(run)
    change(path, edit)
    events = Warned()
    resume(run, events=events)
    assert [text for text in events.warnings if path.name in text]
    assert content(run) == content(whole)


def drop_weight(content: dict[str, Any]) -> None:
    del content["state"]["model"][next(iter(content["state"]["model"]))]


def reshape_weight(content: dict[str, Any]) -> None:
    content["state"]["model"][next(iter(content["state"]["model"]))] = torch.zeros(2, 3)


def drop_momentum(content: dict[str, Any]) -> None:
    del content["state"]["optimizer"]["state"][0]


def drop_all_momentum(content: dict[str, Any]) -> None:
    content["state"]["optimizer"]["state"] = {}


def reshape_momentum(content: dict[str, Any]) -> None:
    content["state"]["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(7, 7, 7)


def foreign_momentum(content: dict[str, Any]) -> None:
    content["state"]["optimizer"]["state"][99] = {"momentum_buffer": torch.zeros(1)}


def other_momentum(content: dict[str, Any]) -> None:
    content["state"]["optimizer"]["param_groups"][0]["momentum"] = 0.1


def drop_group(content: dict[str, Any]) -> None:
    content["state"]["optimizer"]["param_groups"].pop()


def odd_group(content: dict[str, Any]) -> None:
    content["state"]["optimizer"]["param_groups"][0] = 3


def shorter_metrics(content: dict[str, Any]) -> None:
    content["log_lengths"]["metrics"] -= 1


def shorter_positions(content: dict[str, Any]) -> None:
    content["log_lengths"]["positions"] -= 1


def longer_positions(content: dict[str, Any]) -> None:
    content["log_lengths"]["positions"] += 10**6


def whole_weight(content: dict[str, Any]) -> None:
    model = content["state"]["model"]
    model["unit.weight"] = model["unit.weight"].to(torch.int64)


def buffers(content: dict[str, Any]) -> list[dict[str, Any]]:
    return list(content["state"]["optimizer"]["state"].values())


def no_dimensions(content: dict[str, Any]) -> None:
    buffers(content)[0]["momentum_buffer"] = torch.tensor(3.0)


def whole_momentum(content: dict[str, Any]) -> None:
    buffers(content)[0]["momentum_buffer"] = buffers(content)[0]["momentum_buffer"].to(torch.int64)


def plain_number(content: dict[str, Any]) -> None:
    buffers(content)[0]["momentum_buffer"] = 3.0


def momentum_of_none(content: dict[str, Any]) -> None:
    for state in buffers(content):
        state["momentum_buffer"] = None


def empty_states(content: dict[str, Any]) -> None:
    for state in buffers(content):
        state.clear()


def unsaid_momentum(content: dict[str, Any]) -> None:
    del content["state"]["optimizer"]["param_groups"][0]["momentum"]


def endless_logs(content: dict[str, Any]) -> None:
    content["log_lengths"] = {"positions": 10**30, "metrics": 10**30}


@pytest.mark.parametrize("edit", [drop_momentum, drop_all_momentum, foreign_momentum])
def test_states_that_are_missing_or_too_many_are_passed_over(
    run: Path, whole: Path, content: Content, edit: Callable[[dict[str, Any]], None]
) -> None:
    path = newest(run)
    change(path, edit)
    events = Warned()
    resume(run, events=events)
    assert [text for text in events.warnings if path.name in text and "missing" in text]
    assert content(run) == content(whole)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("learning_rate = 0.1", "learning_rate = 0.5", "optimizer.learning_rate is 0.5, it was 0.1"),
        ("warm_up = 3", "warm_up = 8", "schedule.warm_up is 8, it was 3"),
        ("batch_size = 16", "batch_size = 17", "data.batch_size is 17, it was 16"),
    ],
)
def test_another_recipe_than_it_was_saved_with_is_refused(run: Path, old: str, new: str, key: str) -> None:
    text = (run / "recipe.toml").read_text()
    assert old in text
    (run / "recipe.toml").write_text(text.replace(old, new, 1))
    refused(run, re.escape(key))


def test_another_environment_than_it_was_saved_with_is_warned_of(run: Path) -> None:
    path = run / "environment.json"
    path.write_text(path.read_text().replace('"threads": 1,', '"threads": 2,'))
    events = Warned()
    resume(run, ["schedule.iterations=14"], events=events)
    assert [text for text in events.warnings if f"{path} was changed" in text]


def test_the_snapshots_of_another_run_are_refused(run: Path, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    train(tiny("optimizer.position_learning_rate_factor=0.5"), tmp_path / "other")
    (run / "positions.bin").write_bytes((tmp_path / "other" / "positions.bin").read_bytes())
    refused(run, r"positions\.bin is of another run, or .*00000012\.pt is")


@pytest.mark.parametrize("value", [3e38, -1.0], ids=["huge weights", "a negative variance"])
def test_a_parent_that_computes_no_numbers_is_not_rounded(run: Path, tmp_path: Path, value: float) -> None:
    name = "unit.weight" if value > 0 else "norm.running_var"
    change(newest(run), lambda content: content["state"]["model"][name].fill_(value))
    with pytest.raises(UserError, match="not finite: there is nothing to fine-tune"):
        round_and_finetune(run, tmp_path / "child", iterations=1)
    assert not (tmp_path / "child").exists()
    with pytest.raises(UserError, match=r"the test loss of .* is (nan|inf)"):
        evaluate_run(run)


def test_a_parent_that_cannot_be_loaded_leaves_no_run(run: Path, tmp_path: Path) -> None:
    change(newest(run), lambda content: content["state"]["model"].update(foreign=torch.zeros(1)))
    with pytest.raises(UserError, match="the model has no foreign"):
        round_and_finetune(run, tmp_path / "child", iterations=1)
    assert not (tmp_path / "child").exists()


@pytest.mark.parametrize(
    "edit",
    [
        *(drop_weight, reshape_weight, whole_weight, reshape_momentum, no_dimensions, whole_momentum, plain_number),
        *(momentum_of_none, empty_states, other_momentum, unsaid_momentum, drop_group, odd_group),
        *(shorter_metrics, shorter_positions, longer_positions, endless_logs),
    ],
)
def test_what_does_not_fit_network_or_logs_is_one_sentence(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    change(newest(run), edit)
    logs = edit in (shorter_metrics, shorter_positions, longer_positions, endless_logs)
    refused(run, "checkpoint" if logs else newest(run).name)


def test_lengths_that_end_with_another_iteration_are_refused(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    record = SnapshotFile(run / "positions.bin")._records.itemsize
    place = newest(run)
    kept = place.read_bytes()
    change(place, lambda content: content["log_lengths"].update(metrics=sum(map(len, lines[:5]))))
    refused(run, r"00000012\.pt is damaged: .*metrics\.jsonl ends with iteration 4")
    place.write_bytes(kept)
    change(place, lambda content: content["log_lengths"].update(positions=content["log_lengths"]["positions"] - record))
    refused(run, r"00000012\.pt is damaged: .*positions\.bin ends with iteration 11")


@pytest.mark.parametrize("damage", ["digit", "missing", "unchecked"])
def test_damaged_metrics_are_named_and_nothing_is_changed(run: Path, damage: str) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "digit":
        place = lines[2].index(b'"loss": ') + 8
        lines[2] = lines[2][:place] + bytes([lines[2][place] ^ 1]) + lines[2][place + 1 :]
    elif damage == "missing":
        del lines[2]
    else:
        lines[2] = lines[2].partition(b', "crc32"')[0] + b"}\n"
    path.write_bytes(b"".join(lines))
    refused(run, r"line 3 of .*metrics\.jsonl is damaged")


def test_metrics_of_today_without_checksums_are_gone_on_with(run: Path, whole: Path) -> None:
    for name in ("metrics.jsonl", "timings.jsonl"):
        lines = (run / name).read_bytes().splitlines()
        (run / name).write_bytes(b"".join(line.partition(b', "crc32"')[0] + b"}\n" for line in lines))
    for path in (run / "checkpoints").iterdir():
        # A line's checksum takes 21 bytes.
        iteration = int(path.stem)
        records = iteration + sum(number < iteration for number in (4, 8, 12))
        change(
            path,
            lambda content, cut=21 * records: content["log_lengths"].update(  # type: ignore[misc]
                metrics=content["log_lengths"]["metrics"] - cut
            ),
        )
    resume(run, ["schedule.iterations=14"])
    assert [record.iteration for record in read_metrics(run / "metrics.jsonl").training] == list(range(1, 15))
    before = read_metrics(whole / "metrics.jsonl").training
    assert read_metrics(run / "metrics.jsonl").training[:12] == before
    assert [record.iteration for record in read_timings(run / "timings.jsonl")] == [4, 8, 12, 12, 14]
    # Old lines: a missing one and figures that contradict each other are noticed all the same.
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    for number, line in ((2, b""), (5, lines[4].replace(b'"test_images": 50', b'"test_images": 51'))):
        (run / "metrics.jsonl").write_bytes(b"".join([*lines[: number - 1], line, *lines[number:]]))
        with pytest.raises(UserError, match=f"line {number} of"):
            read_metrics(run / "metrics.jsonl")


@pytest.mark.parametrize("zeros", [1, 300])
def test_damaged_snapshots_are_named_and_nothing_is_changed(run: Path, zeros: int) -> None:
    path = run / "positions.bin"
    content = bytearray(path.read_bytes())
    record = SnapshotFile(path)._records.itemsize
    start = len(content) - 9 * record + 20
    content[start : start + zeros] = bytes(255 - value for value in content[start : start + zeros])
    path.write_bytes(content)
    refused(run, r"snapshots? of .*positions\.bin are damaged \(number 4")


def test_a_shortened_log_is_refused(run: Path) -> None:
    for name in ("positions.bin", "metrics.jsonl"):
        path = run / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        refused(run, f"{name} has .* bytes, the checkpoint was saved with")
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["metrics.jsonl", "positions.bin", "timings.jsonl", "environment.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_directory_is_one_sentence(run: Path, name: str, make: Callable[[Path], None]) -> None:
    (run / name).unlink()
    make(run / name)
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        resume(run)


def test_lost_checkpoints_with_a_damaged_header_lose_nothing(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    content = bytearray((run / "positions.bin").read_bytes())
    content[20] ^= 1
    (run / "positions.bin").write_bytes(content)
    refused(run, "header of .* is damaged", ())
    (run / "positions.bin").unlink()
    refused(run, "has records in metrics.jsonl but no checkpoint", ())


@pytest.mark.parametrize(
    ("key", "value"), [("before", None), ("before", {"images": 3}), ("collisions", 3), ("parent_iteration", "x")]
)
def test_damaged_figures_of_rounding_are_named(run: Path, tmp_path: Path, key: str, value: object) -> None:
    child = tmp_path / "child"
    round_and_finetune(run, child, iterations=1)
    path = child / "rounding.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, key: value}))
    with pytest.raises(UserError, match=r"rounding\.json is damaged: " + key):
        resume(child)


def test_positions_stay_what_they_are(whole: Path) -> None:
    # What the checks read is what the training wrote.
    assert not len(SnapshotFile(whole / "positions.bin").damaged)
    assert np.isfinite(SnapshotFile(whole / "positions.bin").positions("unit")).all()


def test_an_empty_directory_and_the_working_directory_can_be_trained_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny, whole: Path, content: Content
) -> None:
    monkeypatch.chdir(tmp_path)
    train(tiny("schedule.iterations=7"), Path("."))
    assert resume(Path("."), ["schedule.iterations=12"]).finished
    assert content(tmp_path) == content(whole)
