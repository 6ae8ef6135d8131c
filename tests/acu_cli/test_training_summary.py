from __future__ import annotations

import json

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
