"""`--json` is one shape everywhere: every command prints one object, whose names docs/json.md explains."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import caffe_network
import pytest
import typer

from acu_cli import terminal
from acu_cli.app import app, main

ROOT = Path(__file__).parent.parent.parent
TINY = (
    *("--set", "machine.threads=1", "--set", "machine.device=cpu", "--set", "data.batch_size=16"),
    *("--set", "data.options={train_count=200, test_count=50}", "--set", "schedule.iterations=6"),
    *("--set", "schedule.warm_up=2", "--set", "schedule.divisions=[]", "--set", "compare_frozen=false"),
)

EXAMPLES: dict[str, tuple[str, ...]] = {
    "train": (*TINY, "--out", "new", "--continue"),
    "watch": ("run",),
    "runs": (".",),
    "show": ("run",),
    "compare": ("run",),
    "animate-shapes": ("run", "-o", "shapes.png"),
    "positions": ("run", "-o", "positions.csv"),
    "report": ("run", "-o", "run.html"),
    "tensorboard": ("run", "-o", "events"),
    "round-and-finetune": ("run", "--iterations", "2", "--out", "rounded"),
    "evaluate": ("run",),
    "plan": ("planted", *TINY),
    "import-caffe": ("plain_iter_10.caffemodel", "--out", "imported"),
    "export": ("run", "-o", "run.safetensors", "--batch", "2"),
    "reproduce": ("cifar10", "--dry-run"),
    "sweep": ("planted", "--over", "optimizer.learning_rate=0.1,0.05", *TINY[:-2]),
    "recipes": (),
    "recipes list": (),
    "recipes copy": ("planted", "mine.toml"),
    "recipes check": ("planted",),
    "doctor": (),
    "bench data": ("photos", "--make", "24", "--rounds", "2", "--batch", "4", "--batches", "1", "--workers", "1"),
    "bench op": ("--shape", "2,4,6,7,8,9,1", "--rounds", "2", "--quick"),
    "bench train": ("--rounds", "2", "--batch", "2"),
    "bench plan": (
        *("--recipe", "planted", "--seconds", "0.1", "--set", "data.options={train_count=200, test_count=50}"),
        *("--set", "machine.device=cpu", "--set", "data.batch_size=2", "--set", "compare_frozen=false"),
    ),
    "bench render": (
        *("--rounds", "2", "--frames", "4", "--matplotlib-frames", "2", "--iterations", "20", "--layers", "2"),
    ),
    "bench watch": ("--pairs", "2", "--seconds", "0.3", "--batch", "2", "--threads", "1"),
}
"""A command line for every command; what is not here, or not as it says, fails below."""


def commands() -> dict[str, Any]:
    """Every command that does something, by its words after `acu`."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", {})
        if words and (not inner or command.invoke_without_command):
            yield " ".join(words), command
        for name, child in inner.items():
            yield from walk(child, (*words, name))

    return dict(walk(typer.main.get_command(app), ()))


def documented() -> dict[str, str]:
    """The names of docs/json.md and the kinds of their values."""
    page = (ROOT / "docs" / "json.md").read_text()
    rows = re.findall(r"^\| (`[^|]*`) \| ([a-z, ]+) \|", page, re.MULTILINE)
    return {name: kind for names, kind in rows for name in re.findall(r"`([a-z0-9_]+)`", names)}


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return {str: "text", list: "list", dict: "object"}[type(value)]


def check(values: dict[str, Any]) -> None:
    """Every name of an object, and of the runs in it, is a documented one, with a value of its kind."""
    names = documented()
    for name, value in values.items():
        assert name in names, f"docs/json.md does not explain {name}"
        assert kind_of(value) in names[name].split(", "), f"{name} is {value!r}, docs/json.md says {names[name]}"
    for entry in (*values.get("runs", []), *values.get("checkpoints", [])):
        check(entry)
    for name in ("evaluation", "averaged", "validation", "averaged_validation", "frozen", "error"):
        if values.get(name) is not None:
            check(values[name])


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a finished run and a file of the authors' kind."""
    folder = tmp_path_factory.mktemp("json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert acu(patch, "train", *TINY, "--out", "run") == 0
    (folder / "plain_iter_10.caffemodel").write_bytes(caffe_network.encode(caffe_network.made_up()))
    return folder


def test_every_command_has_an_example() -> None:
    assert set(EXAMPLES) == set(commands())


@pytest.mark.parametrize("name", commands())
def test_a_result_is_one_object(
    name: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    status = acu(monkeypatch, *name.split(), *EXAMPLES[name], "--json")
    written = capsys.readouterr()
    values = json.loads(written.out)
    assert status == 0, written.err
    assert next(iter(values)) == "command"
    assert values["command"] == name
    assert "error" not in values
    check(values)
    if "run" in EXAMPLES[name][:1]:
        assert values.get("run", "run") in ("run", "rounded")


def test_a_sweep_that_is_only_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, "sweep", *EXAMPLES["sweep"], "--dry-run", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    check(values)
    assert [run["finished"] for run in values["runs"]] == [False, False]


@pytest.mark.parametrize("name", commands())
def test_wrong_usage_is_one_object_too(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, *name.split(), *EXAMPLES[name], "--json", "--no-such-option") == 2
    written = capsys.readouterr()
    values = json.loads(written.out)
    assert values["command"] == name
    assert "no-such-option" in values["error"]["message"]
    check(values)
    assert written.err.startswith("error: ")
    assert "Traceback" not in written.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "command", "message", "remedy"),
    [
        (("train", "--resume", "nowhere", "--json"), "train", "there is no run at nowhere", None),
        (("train", "--json", "--set", "schedule.iteratons=1"), "train", "schedule.iteratons: unknown key", None),
        (("train", "--continue", "--json"), "train", "--continue needs --out", None),
        (
            ("train", "cifar10-plain-acu-round", "--json"),
            "train",
            "it cannot be trained alone",
            "train it first (`acu train cifar10-plain-acu`)",
        ),
        (("bench", "op", "--rounds", "x", "--json"), "bench op", "--rounds", None),
        (("bench", "--json"), "bench", "such option", None),
        (("evaluate", "", "--json"), "evaluate", "an argument is empty", None),
        (("evaluate", "--json"), "evaluate", "Missing argument", None),
        (("no-such-command", "--json"), "", "such command", None),
    ],
)
def test_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    command: str,
    message: str,
    remedy: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, *arguments) == 2
    values = json.loads(capsys.readouterr().out)
    assert values.get("command", "") == command
    assert message in values["error"]["message"]
    assert values["error"]["remedies"][:1] == ([remedy] if remedy else [])


def test_without_json_nothing_is_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert acu(monkeypatch, "train", "--resume", "nowhere") == 2
    assert capsys.readouterr().out == ""


def test_one_object_is_printed_where_a_command_fails_after_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    from acu_cli import json_report

    terminal.expect_json("sweep")
    terminal.json({"finished": False})
    terminal.error("what went wrong")
    json_report.conclude(1)
    assert json.loads(capsys.readouterr().out) == {"command": "sweep", "finished": False}
    terminal.expect_json("sweep")
    terminal.error("what went wrong")
    json_report.conclude(130)
    assert json.loads(capsys.readouterr().out)["error"] == {"message": "what went wrong", "remedies": []}
    terminal.expect_json("")
