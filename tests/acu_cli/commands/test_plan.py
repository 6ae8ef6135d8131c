from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from acu_cli import plan_summary
from acu_cli.app import main
from acu_core.bench.plan_bench import compare_plan
from acu_core.forecast import plan as plan_module
from acu_core.forecast.measuring_process import Answer, Task, answer_to
from acu_core.forecast.plan import Plan, plan_training
from acu_core.forecast.step_clock import Patience
from acu_core.recipe.schema import Recipe

TINY = (
    "--set=data.options={train_count=200, test_count=50}",
    "--set=schedule.iterations=1200",
    "--set=compare_frozen=true",
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Patience(seconds=0, least=1, most=1, skipped=1)

    def measure(task: Task) -> list[Answer]:
        return [answer_to(dataclasses.replace(task, patience=few))]

    monkeypatch.setattr(plan_module, "measure_in_processes", measure)


def acu(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["acu", *words])
    with pytest.raises(SystemExit) as exit:
        main()
    return int(exit.value.code or 0)


def test_a_plan_in_a_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, "plan", "planted", "--device", "cpu", *TINY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "planted: 920 parameters, on cpu, 1 thread, planted (generated)"
    rows = {line.split("  ")[0]: line.split() for line in lines[1:9]}
    # 100 of the warm-up and 1,200 of the frozen twin; 1,100 that move the positions.
    assert rows["step, positions still"][-3:-2] == ["1,300"]
    assert rows["step, positions moving"][-3:-2] == ["1,100"]
    assert rows["evaluation"][-3] == "12"
    assert any(line.startswith("Begun now, it ends about ") for line in lines)
    # Of the process that runs these tests, whatever they have needed before.
    assert any(re.match(r"Memory: \d[\d.]* [MG]iB at most", line) for line in lines)
    assert any(line.startswith("Disk: ") and "positions.bin 282 KiB" in line for line in lines)
    assert len(lines) < 20
    assert list(tmp_path.iterdir()) == []


def test_a_plan_as_json_has_the_same_facts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert acu(monkeypatch, "plan", "planted", "--device", "cpu", "--json", *TINY) == 0
    values = json.loads(capsys.readouterr().out)
    seconds, counts = values["seconds_of"], values["counts"]
    assert counts == {"still_steps": 1300, "moving_steps": 1100, "evaluations": 12, "checkpoints": 14}
    training = 1300 * seconds["still_step"] + 1100 * seconds["moving_step"]
    assert seconds["training"] == pytest.approx(training)
    rest = 12 * seconds["evaluation"] + 14 * seconds["checkpoint"]
    assert values["seconds"] == pytest.approx(seconds["start"] + training + rest + seconds["end"])
    assert seconds["compiling"] == 0
    assert values["disk"]["positions"] == 2 * 144_624
    assert values["remarks"] == []


def test_what_stands_beside_a_plan_of_many_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ("--device", "cpu", "--processes", "64", *TINY)
    assert acu(monkeypatch, "plan", "planted", *many) == 0
    written = capsys.readouterr().out
    assert "on cpu, 64 processes, each with 1 thread" in written
    assert "Between them travel 3.60 KiB of gradients a step: the time for that is not in it." in written
    assert acu(monkeypatch, "plan", "planted", *many, "--bandwidth", "0.001", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["seconds_of"]["communication_of_a_step"] == pytest.approx(2 * 63 / 64 * 3688 / 1e6)
    (remark,) = values["remarks"]
    assert "7.26 ms a step for that at 0.001 GB/s are in it" in remark


def test_what_cannot_be_trained_is_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert acu(monkeypatch, "plan", "planted", "--data", str(tmp_path)) == 2
    assert "cannot be used for it" in capsys.readouterr().err
    assert acu(monkeypatch, "plan", "cifar10-plain-acu", "--data", str(tmp_path)) == 2
    said = capsys.readouterr().err
    assert str(tmp_path) in said
    # Which a plan has not.
    assert "--download" not in said
    assert "give its path by --data" in said
    assert acu(monkeypatch, "plan", "cifar10-plain-acu-round") == 2
    assert "train it first (`acu train cifar10-plain-acu`)" in capsys.readouterr().err


@pytest.fixture
def plan(tiny: Callable[..., Recipe]) -> Plan:
    return plan_training(tiny())


def test_the_plan_says_what_is_not_in_it(plan: Plan) -> None:
    assert plan_summary.remarks(plan) == []
    (made_up,) = plan_summary.remarks(dataclasses.replace(plan, made_up=True))
    assert "planted is not here" in made_up
    assert "decoding" not in made_up
    of_files = dataclasses.replace(plan.answer, images_in_memory=False)
    (made_up,) = plan_summary.remarks(dataclasses.replace(plan, made_up=True, answers=(of_files,)))
    assert "reading and decoding" in made_up
    here = dataclasses.replace(plan, company="here", processes=2, bandwidth=1e9)
    assert len(plan_summary.remarks(here)) == 2
    (unneeded,) = plan_summary.remarks(dataclasses.replace(plan, bandwidth=1e9))
    assert unneeded == "--bandwidth was not needed: there is one process."
    recipe = plan.recipe.changed(machine={"compile": True})
    (compiled,) = plan_summary.remarks(dataclasses.replace(plan, recipe=recipe))
    assert "as if for the first time" in compiled


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00321, "3.21 ms"),
        (0.0321, "32.1 ms"),
        (0.3214, "321 ms"),
        (0.9999, "1.00 s"),
        (59.96, "60.0 s"),
        (75, "1 min 15 s"),
    ],
)
def test_short_times_have_three_digits(seconds: float, text: str) -> None:
    assert plan_summary.short(seconds) == text


def test_the_bench_trains_what_it_has_planned(tmp_path: Path) -> None:
    words: list[list[str]] = []

    def command(recipe: Path, out: Path) -> list[str]:
        words.append([sys.executable, "-m", "acu_cli", "train", str(recipe), "--out", str(out)])
        return words[-1]

    changes = ("machine.device=cpu", "data.options={train_count=200, test_count=50}", "data.batch_size=4")
    found = compare_plan("planted", command, data_path=tmp_path, seconds=0.01, overrides=changes)
    assert found.iterations == 60
    assert len(words) == 1
    assert found.ratios.keys() == {"iteration", "evaluation", "total", "memory", "disk"}
    assert found.ratios["disk"] == pytest.approx(1, rel=0.06)
    for figures in (found.planned, found.happened):
        assert min(figures.iteration, figures.evaluation, figures.total) > 0
        assert figures.memory > 100 * 2**20
