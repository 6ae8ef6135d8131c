from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acu_cli.app import main
from acu_core.experiments.frozen_twin import train
from acu_core.export import formats
from acu_core.export.formats import FORMATS
from acu_core.recipe.recipe_file import load_recipe

TINY = (
    "compare_frozen=false",
    "machine.threads=1",
    "machine.device=cpu",
    "data.batch_size=16",
    "data.options={train_count=100, test_count=50}",
    "schedule.iterations=3",
    "schedule.warm_up=1",
    "schedule.divisions=[]",
)


DENSE = ("--form", "dense")


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "planted"
    train(load_recipe("planted", TINY), path)
    return path


def test_both_counts_and_the_difference_are_printed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "n.onnx"
    assert acu(monkeypatch, "export", run, "-o", tmp_path / "n.pt2", "--json", "--batch", 2) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["written"], figures["evaluation"]["images"], figures["opset"]) == (True, 50, None)
    assert figures["evaluation"]["errors"] == figures["exported_errors"]
    assert figures["largest_logit_difference"] <= 1e-4
    assert set(figures["forms"].values()) <= {"dense", "shifts"}
    assert [one["network"] for one in figures["networks"]] == ["ordinary", "dense", "shifts", "custom", "exported"]
    assert all(one["seconds"] > 0 for one in figures["networks"])
    assert (figures["runtime"], figures["batch"]) == ("PyTorch", 2)
    (unit,) = figures["layer_forms"]
    assert [form["form"] for form in unit["forms"]] == ["ordinary", "dense", "shifts", "custom"]
    assert acu(monkeypatch, "export", run, "-o", file, "--form", "dense", "--form", "unit=shifts") == 0
    out = capsys.readouterr().out
    assert re.search(r"^unit +shifts \* ", out, re.MULTILINE)
    assert re.search(r"^as written +[\d,]+ +[\d,]+$", out, re.MULTILINE), "nothing was measured"
    assert f"{file}: {run}, iteration 3, as ONNX, opset 18" in out
    assert f"the run's network  {figures['evaluation']['errors']} errors in 50 images" in out
    assert f"the written file   {figures['exported_errors']} errors" in out
    assert "largest difference of two logits  " in out
    assert (
        acu(monkeypatch, "export", run, "-o", tmp_path / "n.safetensors", "--no-check", "--iteration", 3, *DENSE) == 0
    )
    assert "not evaluated (--no-check)" in capsys.readouterr().out


def test_a_file_that_differs_is_status_1(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = FORMATS[".safetensors"]

    def load(path: Path, network: torch.nn.Module) -> torch.nn.Module:
        loaded = chosen.load(path, network)
        with torch.no_grad():
            loaded.get_parameter("classifier.weight").mul_(1.5)
        return loaded

    monkeypatch.setattr(formats, "FORMATS", {".safetensors": replace(chosen, load=load)})
    file = tmp_path / "n.safetensors"
    assert acu(monkeypatch, "export", run, "-o", file, *DENSE) == 1
    written = capsys.readouterr()
    assert "the written file" in written.out
    assert f"error: {file} was not written, because its logits differ by more than 0.0001" in written.err
    assert not file.exists()
    assert acu(monkeypatch, "export", run, "-o", file, "--json") == 1
    assert json.loads(capsys.readouterr().out)["written"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "n.pth"), "does not say its format"),
        (("-o", "missing/n.pt2"), "cannot be written"),
        (("-o", "n.pt2", "--iteration", "2"), "has no checkpoint of iteration 2"),
        (("-o", "n.pt2", "--form", "fast"), "'fast' is no form: say one of auto, dense, shifts, custom"),
        (("-o", "n.pt2", "--form", "conv=dense"), "no active layer is called 'conv': there are unit"),
        (("-o", "n.safetensors", "--form", "custom"), "the form custom does not fit this format"),
    ],
)
def test_errors_of_the_user(
    run: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, "export", run, *arguments) == 2
    written = capsys.readouterr()
    assert message in written.err
    assert "Traceback" not in written.err
    assert not any(tmp_path.iterdir())
