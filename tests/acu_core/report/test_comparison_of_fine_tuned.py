"""Fine-tuned runs are compared with those whose parents were trained alike."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from compared_runs import rounded, write_run

from acu_core.report.comparison import Comparison, compare

SLOW = "optimizer.learning_rate=0.05"


def labels(comparison: Comparison) -> list[str]:
    return [group.label for group in comparison.groups]


def test_fine_tuned_runs_are_grouped_by_what_their_parents_were_trained_with(tmp_path: Path) -> None:
    rates = ("optimizer.learning_rate=0.1", SLOW)
    parents = [write_run(tmp_path / f"{n}-{seed}", seed, 9, rate) for n, rate in enumerate(rates) for seed in (0, 1)]
    runs = [rounded(tmp_path, number % 2, parent, 100 + number) for number, parent in enumerate(parents)]
    found = compare(runs)
    assert labels(found) == [f"rounded (parent.optimizer.learning_rate={rate})" for rate in ("0.1", "0.05")]
    assert [[run.path for run in group.runs] for group in found.groups] == [runs[:2], runs[2:]]
    assert (found.left_out, found.remarks) == ((), ())
    assert found.settings == (("parent.optimizer.learning_rate", (0.1, 0.05)),)
    # A parent that went on since, whose old checkpoint is gone, is the same one.
    (parents[0] / "checkpoints" / "00000020.pt").unlink()
    assert labels(compare(runs)) == labels(found)
    # All of them elsewhere: the parents are beside their children, and known by their checkpoints.
    moved = tmp_path / "moved"
    (parents[0] / "checkpoints" / "00000020.pt").write_text(str(parents[0]))
    here = [path for path in tmp_path.iterdir() if path != moved]
    moved.mkdir()
    for path in here:
        path.rename(moved / path.name)
    assert labels(compare([moved / run.name for run in runs])) == labels(found)


@pytest.mark.parametrize("how", ["gone", "another run", "another seed"])
def test_fine_tuned_runs_whose_parents_are_not_known_stand_by_themselves(tmp_path: Path, how: str) -> None:
    parents = [write_run(tmp_path / f"p-{seed}", seed, 9) for seed in range(3)]
    runs = [rounded(tmp_path, seed, parent, 100 + seed) for seed, parent in enumerate(parents)]
    assert len(compare(runs).groups) == 1
    for parent in parents[1:]:
        if how == "gone":
            shutil.rmtree(parent)
        elif how == "another run":
            (parent / "checkpoints" / "00000020.pt").write_text("trained again")
        else:
            text = (parent / "recipe.toml").read_text()
            (parent / "recipe.toml").write_text(text.replace(f"seed = {parent.name[-1]}", "seed = 7"))
    found = compare(runs)
    assert [[run.path for run in group.runs] for group in found.groups] == [[run] for run in runs]
    assert [
        remark.startswith(f"What the parent of {run} was") for remark, run in zip(found.remarks, runs[1:], strict=True)
    ]
    assert labels(found) == ["rounded", "rounded (unknown parent p-1)", "rounded (unknown parent p-2)"]
    assert found.settings == ()
    slow = rounded(tmp_path, 0, write_run(tmp_path / "slow", 0, 9, SLOW))
    assert labels(compare([*runs[:2], slow])) == [
        "rounded (parent.optimizer.learning_rate=0.1)",
        "rounded (unknown parent p-1)",
        "rounded (parent.optimizer.learning_rate=0.05)",
    ]
    said = {"gone": "is not there", "another run": "is another run now", "another seed": "has another seed now"}[how]
    assert all(f"({parent} {said})" in remark for remark, parent in zip(found.remarks, parents[1:], strict=True))


def test_a_parent_that_was_fine_tuned_itself_and_a_circle_of_them(tmp_path: Path) -> None:
    roots = [
        write_run(tmp_path / name, 0, 9, rate) for name, rate in (("a", "optimizer.learning_rate=0.1"), ("b", SLOW))
    ]
    children = [rounded(tmp_path, 0, rounded(tmp_path, 0, root)) for root in roots]
    assert labels(compare(children))[1] == "rounded (parent.parent.optimizer.learning_rate=0.05)"
    text = (children[0] / "recipe.toml").read_text()
    parent = tmp_path / "a-rounded"
    (parent / "recipe.toml").write_text(text.replace(str(parent), str(children[0])))
    shutil.rmtree(parent / "checkpoints")
    shutil.rmtree(children[0] / "checkpoints")
    assert "more than 8 parents follow each other" in compare(children).remarks[0]
