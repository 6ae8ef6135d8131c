from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import pytest

from acu_cli.training_summary import conclude
from acu_core.experiments.report import RoundingFigures, TrainingReport
from acu_core.learn.evaluation import Evaluation

FIGURES = Evaluation(loss=0.5, errors=25, images=100, top5_errors=5)


def report(part: str, rounding: RoundingFigures | None = None) -> TrainingReport:
    return TrainingReport(
        run="my run",
        recipe="mine",
        iteration=5,
        iterations=5,
        seconds=1.0,
        classes=3,
        active_layers=1,
        test_part=part,
        evaluation=FIGURES,
        rounding=rounding,
    )


@pytest.mark.parametrize("part", ["test", "validation"])
def test_images_that_are_not_trained_on_have_their_name(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    conclude(report(part), as_json=False)
    written = capsys.readouterr().out
    # "validation accuracy" is longer than its column.
    assert f"  {part} accuracy".ljust(19) + " 75.00 % (25 errors in 100 images)" in written
    assert written.splitlines()[-1] == "Next: acu animate-shapes 'my run'"
    conclude(report(part, RoundingFigures("parent", 4, FIGURES, FIGURES, [])), as_json=False)
    written = capsys.readouterr().out
    assert written.count(f"25.00 % error (25 of 100 {part} images)") == 3


def test_json_keeps_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    conclude(report("validation"), as_json=True)
    values = json.loads(capsys.readouterr().out)
    assert values["evaluation"] == {"loss": 0.5, "errors": 25, "images": 100, "accuracy": 0.75}
    assert values["test_part"] == "validation"


def test_lines_break_between_words_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = Evaluation(loss=0.5, errors=58, images=100, top5_errors=5)
    found = replace(report("test"), frozen=frozen, run="a run " * 30)
    conclude(found, as_json=False)
    whole = capsys.readouterr().out
    (long,) = [line for line in whole.splitlines() if "behind" in line]
    assert long.endswith("lies 33.0 points behind")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for columns in (40, 60, 79, 80, 81, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        conclude(found, as_json=False)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
        # What is typed or copied is one line, whatever its length.
        assert all(len(line) <= columns for line in lines if "a run" not in line)
        assert sum("a run" in line for line in lines) == 2
        assert "33.0 points" in "\n".join(lines)
        assert " ".join(" ".join(lines).split()) == " ".join(whole.split())
