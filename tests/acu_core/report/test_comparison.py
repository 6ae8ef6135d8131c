from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from compared_runs import ENVIRONMENT, damage, rounded, write_run

from acu_core.errors import UserError
from acu_core.experiments.shape_recovery import shape_recovery
from acu_core.recipe.deciding_settings import settings
from acu_core.recipe.recipe_file import load_recipe
from acu_core.report import compared_run, comparison_text
from acu_core.report.comparison import DISTANCE, ERROR, Comparison, compare
from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter

SLOW = "optimizer.learning_rate=0.05"


def labels(comparison: Comparison) -> list[str]:
    return [group.label for group in comparison.groups]


def reasons(comparison: Comparison) -> dict[str, str]:
    return {run.path.name: run.reason for run in comparison.left_out}


def test_grouped_by_recipe_and_paired_by_seed(tmp_path: Path) -> None:
    # Errors of 10.0, 12.0, 11.0 % and 9.0, 10.0, 10.0 %: the differences of test_difference.py, by hand.
    ours = [write_run(tmp_path / f"a{seed}", seed, errors) for seed, errors in enumerate((100, 120, 110))]
    theirs = [write_run(tmp_path / f"b{seed}", seed, errors, SLOW) for seed, errors in enumerate((90, 100, 100))]
    found = compare([ours[2], theirs[0], *ours[:2], *theirs[1:]])
    assert labels(found) == ["planted (optimizer.learning_rate=0.1)", "planted (optimizer.learning_rate=0.05)"]
    assert [[run.seed for run in group.runs] for group in found.groups] == [[0, 1, 2], [0, 1, 2]]
    samples = [group.sample(ERROR) for group in found.groups]
    assert [sample.mean for sample in samples] == pytest.approx([11.0, 29 / 3])
    assert [sample.spread for sample in samples] == pytest.approx([1.0, 1 / 3**0.5])
    (difference,) = found.differences(ERROR)
    assert difference is not None
    assert difference.interval == pytest.approx((-2.767551, 0.100884), abs=1e-6)
    assert difference.lower is None
    assert found.settings == (("optimizer.learning_rate", (0.1, 0.05)),)
    assert (found.conditions, found.remarks, found.left_out) == ((), (), ())
    assert comparison_text.tables(found)[1].rows == (
        (
            "planted (optimizer.learning_rate=0.05)",
            "-1.33",
            "-2.77 to +0.10 (paired t, 3 shared seeds)",
            "no winner: 0 lies within",
        ),
    )


def test_what_decides_nothing_of_a_training_makes_no_other_recipe(tmp_path: Path) -> None:
    changes = (
        "machine.threads=3",
        "machine.device=cpu",
        "data.path=elsewhere",
        "description=words",
        "schedule.evaluate_every=5",
        "schedule.checkpoint_every=7",
        "schedule.keep=[3]",
        "average={decay=0.5}",
        "round_and_finetune.iterations=9",
    )
    runs = [write_run(tmp_path / "a", 0, 100), write_run(tmp_path / "b", 1, 100, *changes)]
    (group,) = compare(runs).groups
    assert group.label == "planted"
    for name in ("name=other", SLOW, "data.options={train_count=30}", "schedule.warm_up=6", "data.batch_size=64"):
        other = write_run(tmp_path / name.partition("=")[0], 0, 100, name)
        assert len(compare([*runs, other]).groups) == 2


def test_every_key_that_a_recipe_has_is_a_setting_or_free() -> None:
    recipe = load_recipe("planted")
    free = {"seed", "description", "paper", "compare_frozen", "round_and_finetune"}
    kept = {key.split(".")[0] for key in settings(recipe)}
    assert kept == {"name", "data", "machine", "network", "optimizer", "schedule"}
    # Where a run is computed decides nothing but how precisely.
    assert [key for key in settings(recipe) if key.startswith("machine.")] == ["machine.precision"]
    assert set(recipe.model_dump(exclude_none=True)) - kept - free == set()


def test_many_keys_that_differ(tmp_path: Path) -> None:
    more = ("data.batch_size=32", "optimizer.momentum=0.5", "schedule.warm_up=4", "network.batch_norm_fraction=0.1")
    runs = [write_run(tmp_path / str(n), 0, 100, *more[:n], SLOW) for n in (0, 4)]
    runs.append(write_run(tmp_path / "5", 0, 100, *more, "optimizer.learning_rate=0.01"))
    found = labels(compare(runs))
    assert len(set(found)) == 3
    assert found[0].endswith("and 1 more)")


def test_one_seed_has_no_interval_and_says_so(tmp_path: Path) -> None:
    found = compare([write_run(tmp_path / "a", 3, 100), write_run(tmp_path / "b", 3, 50, SLOW)])
    assert comparison_text.tables(found)[1].rows[0][1:] == (
        "-5.00",
        "-",
        "no interval: one shared seed (3) says nothing about luck",
    )
    (values,) = comparison_text.as_json(found)["differences"]
    assert values["test_error"]["interval"] is None
    assert values["test_error"]["winner"] is None


def test_unequal_seeds(tmp_path: Path) -> None:
    ours = [write_run(tmp_path / f"a{seed}", seed, 100 + 10 * seed) for seed in (0, 1, 2, 5)]
    theirs = [write_run(tmp_path / f"b{seed}", seed, 60 + 9 * seed, SLOW) for seed in (1, 2, 9)]
    found = compare([*ours, *theirs])
    assert [group.sample(ERROR).n for group in found.groups] == [4, 3]
    (difference,) = found.differences(ERROR)
    assert difference is not None
    # Seed 1: 6.9 - 11.0, seed 2: 7.8 - 12.0.
    assert (difference.seeds, difference.difference) == ((1, 2), pytest.approx(-4.15))
    (row,) = comparison_text.tables(found)[1].rows
    assert row[2:] == ("-4.79 to -3.51 (paired t, 2 shared seeds)", "lower")
    assert comparison_text.tables(found)[0].rows[0][1:3] == ("4", "0-2, 5")
    apart = compare([*ours, theirs[2], write_run(tmp_path / "b8", 8, 70, SLOW)])
    assert "Welch's t, no seed shared" in comparison_text.tables(apart)[1].rows[0][2]


def test_what_is_not_finished_or_damaged_is_left_out_and_named(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", 0, 100)
    stopped = write_run(tmp_path / "stopped", 1, {8: 300})
    fresh = write_run(tmp_path / "fresh", 2, {})
    flipped = write_run(tmp_path / "flipped", 3, 100)
    damage(flipped / "metrics.jsonl", -60)
    foreign = write_run(tmp_path / "foreign", 4, 100)
    (foreign / "recipe.toml").write_text("name = 3")
    silent = write_run(tmp_path / "silent", 5, 100)
    (silent / "environment.json").write_text("[]")
    found = compare([whole, stopped, fresh, flipped, foreign, silent, tmp_path / "none"])
    assert [run.path for run in found.groups[0].runs] == [whole]
    left = reasons(found)
    assert left["stopped"] == "it is not finished: iteration 8 of 20"
    assert left["fresh"] == "it is not finished: iteration 3 of 20"
    assert "metrics.jsonl is damaged near its end" in left["flipped"]
    assert "recipe.toml cannot be used" in left["foreign"]
    assert "environment.json is not a JSON object" in left["silent"]
    assert "there is no run at" in left["none"]
    assert len(comparison_text.remarks(found)) == 6
    (foreign / "recipe.toml").write_text('name = 3\nspeed = 4\n[data]\nname = "planted"\n')
    (left_out,) = compare([whole, foreign]).left_out
    assert left_out.reason.count("should be") + left_out.reason.count("missing") > 1
    assert "\n" not in left_out.reason


def test_trainings_of_different_lengths_are_two_groups_and_said(tmp_path: Path) -> None:
    long = [write_run(tmp_path / f"l{seed}", seed, {20: 300 + seed, 40: 100}, iterations=40) for seed in (0, 1)]
    short = [write_run(tmp_path / f"s{seed}", seed, 200 + seed) for seed in (0, 1)]
    found = compare([*long, *short])
    assert labels(found) == ["planted (schedule.iterations=40)", "planted (schedule.iterations=20)"]
    assert "differ in length (20, 40 iterations)" in found.remarks[0]
    same = compare([*long, *short], iteration=20)
    assert [group.sample(ERROR).values for group in same.groups] == [(30.0, 30.1), (20.0, 20.1)]
    assert "Compared at iteration 20" in same.remarks[0]
    late = compare([*long, *short], iteration=40)
    assert reasons(late) == dict.fromkeys(("s0", "s1"), "it was not evaluated at iteration 40 (near it: 20)")


def test_an_unfinished_run_can_be_compared_where_it_was_evaluated(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", 0, {5: 400, 10: 300})
    (group,) = compare([run], iteration=5).groups
    assert group.sample(ERROR).values == (40.0,)


def test_a_log_that_is_damaged_before_its_end_is_noticed_where_all_of_it_is_read(tmp_path: Path) -> None:
    run, whole = write_run(tmp_path / "a", 0, {5: 400, 200: 300}, iterations=200), write_run(tmp_path / "b", 1, {5: 1})
    damage(run / "metrics.jsonl", 30)
    assert "line 1 of" in reasons(compare([run, whole], iteration=5))["a"]


def test_a_seed_counts_once(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, 0, errors) for name, errors in (("a", 100), ("b", 900))]
    found = compare([*runs, tmp_path / "." / "a"])
    assert [run.path.name for run in found.groups[0].runs] == ["a"]
    assert reasons(found) == {"b": f"the same recipe and seed as {runs[0]}, and one seed counts once"}


def test_the_base_is_chosen(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", 0, 100), write_run(tmp_path / "b", 0, 50, SLOW)]
    assert labels(compare(runs, base=runs[1]))[0] == "planted (optimizer.learning_rate=0.05)"
    with pytest.raises(UserError, match="is not among the runs that are compared"):
        compare(runs, base=tmp_path / "c")


def test_environments_and_data_that_differ_are_said(tmp_path: Path) -> None:
    other = copy.deepcopy(ENVIRONMENT)
    other["threads"] = 4
    other["versions"]["torch"] = "2.11.0"
    other["data"]["fingerprint"] = {"data": "b" * 64}
    other["data"]["source"] = "/elsewhere"
    runs = [write_run(tmp_path / f"a{seed}", seed, 100) for seed in (0, 1)]
    runs.append(write_run(tmp_path / "b0", 0, 50, SLOW, environment=other, images=500))
    found = compare(runs)
    assert found.conditions == (
        ("threads", ((1, tuple(runs[:2])), (4, (runs[2],)))),
        ("versions torch", (("2.10.0", tuple(runs[:2])), ("2.11.0", (runs[2],)))),
    )
    assert found.remarks[0] == "The runs were evaluated on different numbers of test images: 500, 1,000."
    assert "were trained on different data" in found.remarks[1]
    # Made-up data are another set for every seed, others are not.
    alone = compare([runs[0], write_run(tmp_path / "c1", 1, 50, environment=other)])
    assert not any("different data" in remark for remark in alone.remarks)
    files = ("data.name=cifar10", "data.options={}")
    apart = [
        write_run(tmp_path / "d0", 0, 100, *files),
        write_run(tmp_path / "d1", 1, 50, *files, environment=other),
    ]
    assert any("trained on different data, which" in remark for remark in compare(apart).remarks)
    assert "different data sets (planted, cifar10)" in compare([runs[0], *apart]).remarks[0]


def test_many_intervals_are_said_to_be_many(tmp_path: Path) -> None:
    rates = (0.1, 0.05, 0.02)
    runs = [write_run(tmp_path / str(rate), 0, 100, f"optimizer.learning_rate={rate}") for rate in rates]
    # One seed has no interval, however many groups there are.
    assert compare(runs).remarks == ()
    seconds = [(0.1, 90), (0.05, 91), (0.02, 95)]
    others = [write_run(tmp_path / f"{rate}-1", 1, n, f"optimizer.learning_rate={rate}") for rate, n in seconds]
    assert compare([*runs, *others[:2]]).remarks == (), "only one of the two differences has an interval"
    runs += others
    (remark,) = compare(runs).remarks
    assert remark.startswith("2 intervals stand here")
    for number, run in enumerate(runs):
        write_shapes(run, float(number) ** 2)
    (remark,) = compare(runs).remarks
    assert remark.startswith("4 intervals stand here"), "those of the distance count"


def write_shapes(run: Path, shift: float) -> None:
    """Snapshots of 20 iterations, each synapse `shift` from the hidden shape."""
    hidden = np.zeros((1, 9, 2))
    shapes = np.zeros((21, 1, 9, 2), np.float32)
    shapes[..., 0] = shift
    with SnapshotWriter.create(
        run / "positions.bin", [LayerEntry("conv", 1, 9)], TrainingFacts(5, hidden.tolist())
    ) as file:
        file.append_block(np.arange(21), [shapes], [np.ones((21, 1, 9), np.float32)])


def test_the_distance_has_its_own_number_of_runs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(seed), seed, 100) for seed in range(3)]
    for seed in (0, 2):
        write_shapes(runs[seed], 1.0 + seed)
    (row,) = comparison_text.tables(compare(runs))[0].rows
    assert row[1:] == ("3", "0-2", "10.00", "0.00", "2.000 (n 2)", "1.414")
    assert "| 2.000 (n 2) |" in comparison_text.markdown(compare(runs))
    write_shapes(runs[1], 2.0)
    assert comparison_text.tables(compare(runs))[0].rows[0][5] == "2.000"
    damage(runs[1] / "positions.bin", 9)
    found = compare(runs)
    assert comparison_text.tables(found)[0].rows[0][5] == "2.000 (n 2)"
    (remark,) = found.remarks
    assert remark.startswith(f"The distance of {runs[1]} to the hidden shape is not known: ")


def test_runs_of_one_recipe_on_other_data_are_another_group(tmp_path: Path) -> None:
    other = copy.deepcopy(ENVIRONMENT)
    other["data"]["fingerprint"] = {"data": "b" * 64}
    files = ("data.name=cifar10", "data.options={}")
    ours = [write_run(tmp_path / f"a{seed}", seed, 100 + seed, *files, "data.path=a.npz") for seed in (0, 1)]
    theirs = [
        write_run(tmp_path / f"b{seed}", seed, 50, *files, "data.path=b.npz", environment=other) for seed in (0, 1)
    ]
    found = compare([*ours, *theirs])
    assert labels(found) == ["planted", "planted (other data)"]
    assert [[run.path for run in group.runs] for group in found.groups] == [ours, theirs]
    assert found.left_out == ()
    assert found.remarks == (
        f"{ours[0]} and {theirs[0]} were trained on different data, which may be all the difference.",
    )
    assert [key for key, _ in found.settings] == ["data.fingerprint"]
    # The same data from another path are the same.
    moved = write_run(tmp_path / "a2", 2, 100, *files, "data.path=elsewhere.npz")
    assert len(compare([*ours, moved]).groups) == 1
    # And so with the parents.
    children = [rounded(tmp_path, 0, run) for run in (ours[0], theirs[0])]
    assert labels(compare(children)) == ["rounded", "rounded (parent trained on other data)"]


def test_images_held_out_by_the_seed_make_no_other_data(tmp_path: Path) -> None:
    def run(name: str, seed: int, digest: str, **found: str) -> Path:
        environment = copy.deepcopy(ENVIRONMENT)
        environment["data"]["fingerprint"] = {"data": digest * 64, "statistics": f"{seed}" * 64, **found}
        files = ("data.name=cifar10", "data.options={}", "data.validation_images=5")
        return write_run(tmp_path / name, seed, 100 + seed, *files, environment=environment)

    ours = [run(f"a{seed}", seed, "a", validation=f"{seed + 2}" * 64) for seed in (0, 1)]
    found = compare(ours)
    assert len(found.groups) == 1
    assert found.remarks == ()
    other = run("b", 0, "b", validation="2" * 64)
    assert len(compare([*ours, other]).groups) == 2
    # Where nothing is held out, statistics of one's own are data of one's own.
    assert len(compare([run(f"c{seed}", seed, "a") for seed in (0, 1)]).groups) == 2


def test_made_data_that_differ_for_one_seed_are_said(tmp_path: Path) -> None:
    other = copy.deepcopy(ENVIRONMENT)
    other["data"]["fingerprint"] = {"data": "b" * 64}
    runs = [write_run(tmp_path / "a", 0, 100), write_run(tmp_path / "b", 0, 50, environment=other)]
    assert (
        reasons(compare(runs))["b"]
        == f"the same recipe and seed as {runs[0]}, but other data, and one seed counts once"
    )


def test_why_an_imported_run_and_one_without_its_last_line_are_left_out(tmp_path: Path) -> None:
    imported = {**ENVIRONMENT, "imported": {"files": [{"iteration": 20}]}}
    run = write_run(tmp_path / "imported", 0, {}, environment=imported)
    (run / "metrics.jsonl").unlink()
    torn = write_run(tmp_path / "torn", 1, 100)
    with open(torn / "metrics.jsonl", "r+b") as file:
        file.truncate(file.seek(0, 2) - 5)
    whole = write_run(tmp_path / "whole", 2, 100)
    found = reasons(compare([run, torn, whole]))
    assert found["imported"] == "it was imported, and has not been evaluated here"
    assert found["torn"] == "it is trained to its end, iteration 20, but not evaluated there"
    assert reasons(compare([run, whole], iteration=20)) == {"imported": found["imported"]}
    with pytest.raises(UserError, match=r"torn is not among the runs that are compared: it is trained to its end"):
        compare([torn, whole], base=torn)


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run to compare"):
        compare([])
    with pytest.raises(UserError, match=r"there is no run to compare: .*it is not finished"):
        compare([write_run(tmp_path / "a", 0, {})])


def test_the_distance_to_the_hidden_shape(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(1, 9, 2))
    shapes = generator.normal(size=(3, 1, 9, 2)).astype(np.float32)
    run = write_run(tmp_path / "a", 0, {10: 200, 20: 100})
    facts = TrainingFacts(5, hidden.tolist())
    with SnapshotWriter.create(run / "positions.bin", [LayerEntry("conv", 1, 9)], facts) as file:
        numbers = np.arange(21)
        file.append_block(numbers, [shapes[numbers % 3]], [np.ones((21, 1, 9), np.float32)])
    for iteration in (10, 20):
        expected = shape_recovery(torch.from_numpy(shapes[iteration % 3]), torch.from_numpy(hidden)).median_distance
        (group,) = compare([run], iteration=iteration).groups
        assert group.sample(DISTANCE).values == pytest.approx((expected,), rel=1e-12)
    (group,) = compare([run]).groups
    assert group.sample(DISTANCE).values == pytest.approx((expected,), rel=1e-12)
    assert compare([run]).measures == (ERROR, DISTANCE)


def test_a_hundred_runs_are_read_from_their_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = (0.1, 0.05)
    runs = [
        write_run(tmp_path / f"{rate}-{seed}", seed, 100 + seed, f"optimizer.learning_rate={rate}")
        for rate in rates
        for seed in range(50)
    ]

    def whole(*_: object, **__: object) -> None:
        raise AssertionError("a whole log was read")

    monkeypatch.setattr(compared_run, "read_metrics", whole)
    found = compare(runs)
    assert [len(group.runs) for group in found.groups] == [50, 50]
    assert comparison_text.tables(found)[0].rows[0][1:3] == ("50", "0-49")
    assert (
        comparison_text.tables(found)[1].rows[0][3]
        == "no interval: the difference is the same for every seed, without a spread"
    )


def test_markdown(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", 0, 100, "name=a"), write_run(tmp_path / "b", 0, 50, "name=b")]
    stopped = write_run(tmp_path / "a|b", 1, {})
    text = comparison_text.markdown(compare([*runs, stopped]))
    assert (
        "| group | n | seeds | test error, % | spread |\n| --- | --- | --- | --- | --- |\n| a | 1 | 0 | 10.00 | - |\n"
        in text
    )
    assert "a\\|b: it is not finished: iteration 3 of 20." in text
