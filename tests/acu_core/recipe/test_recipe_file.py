from __future__ import annotations

import sys
from pathlib import Path

import pytest

from acu_core.errors import UserError
from acu_core.recipe.recipe_file import built_in_recipes, built_in_text, load_recipe, parse_recipe, recipe_toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_the_default_comes_first() -> None:
    assert built_in_recipes()[0] == "planted"
    assert {"cifar10-plain-base", "cifar10-plain-acu"} <= set(built_in_recipes())


@pytest.mark.parametrize("name", built_in_recipes())
def test_built_in_recipes_are_complete(name: str) -> None:
    # Complete: what the file says is what the run's resolved recipe says, no key comes from a default. Options are no
    # exception there, but here: a name is changed more easily where those of another are not in the way.
    written, resolved = tomllib.loads(built_in_text(name)), tomllib.loads(recipe_toml(load_recipe(name)))
    for table in ("data", "network"):
        options = written[table].pop("options")
        assert options.items() <= resolved[table].pop("options").items()
    assert written == resolved
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", built_in_recipes())
def test_headers_state_command_time_and_expectation(name: str) -> None:
    header = built_in_text(name).split("\nname =")[0]
    assert f"acu train {name}" in header or load_recipe(name).start is not None
    assert "# time " in header
    assert "# expected " in header


def test_base_and_acu_differ_in_the_unit_only() -> None:
    base, acu = (load_recipe(f"cifar10-plain-{kind}").model_dump() for kind in ("base", "acu"))
    for values in (base, acu):
        for key in ("name", "description", "paper", "round_and_finetune"):
            del values[key]
    assert base.pop("network") == {**acu.pop("network"), "unit": "convolution"}
    assert base == acu


def test_a_resolved_recipe_reads_back() -> None:
    recipe = load_recipe("planted", ["schedule.iterations=7", "round_and_finetune={iterations=3, learning_rate=0.5}"])
    assert parse_recipe(recipe_toml(recipe), "again") == recipe


@pytest.mark.parametrize(
    ("override", "table", "key", "value"),
    [
        ("schedule.iterations=7", "schedule", "iterations", 7),
        ("schedule.divisions=[1, 2]", "schedule", "divisions", [1, 2]),
        ("optimizer.learning_rate=1", "optimizer", "learning_rate", 1.0),
        ("optimizer.learning_rate=1e-3", "optimizer", "learning_rate", 1e-3),
        ("network.unit=convolution", "network", "unit", "convolution"),
        ('network.unit="convolution"', "network", "unit", "convolution"),
        ("data.mirror=true", "data", "mirror", True),
        (" data.mirror = true", "data", "mirror", True),
        ("data.path=a=b", "data", "path", "a=b"),
    ],
)
def test_overrides(override: str, table: str, key: str, value: object) -> None:
    recipe = load_recipe("planted", ["compare_frozen=false", override])
    assert getattr(getattr(recipe, table), key) == value


def test_overrides_of_options() -> None:
    options = load_recipe("planted", ["data.options.train_count=9"]).data.options
    assert dict(options) == {"train_count": 9, "test_count": 5000}


def test_later_overrides_win() -> None:
    assert load_recipe("planted", ["seed=1", "seed=2"]).seed == 2


def test_everything_wrong_is_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = built_in_text("planted").replace("warm_up = 100", "warm_upp = 100").replace("momentum = 0.9", "momentum = 1")
    path.write_text(text.replace("batch_size = 128\n", ""))
    with pytest.raises(UserError) as caught:
        load_recipe(
            str(path),
            [
                "schedule.iterations='10'",
                "optimizer.learning_rate=nan",
                "machine.threads=true",
                "schedule.divisions=[3, 2]",
                "data.options.train_count=[1]",
                "nonsense",
                "seed.x=1",
            ],
        )
    message = str(caught.value)
    assert str(path) in message
    for expected in (
        "schedule.warm_upp: unknown key; did you mean schedule.warm_up?",
        "optimizer.momentum: should be less than 1",
        "data.batch_size: missing",
        "schedule.iterations: should be a valid integer, got '10'",
        "optimizer.learning_rate: should be a finite number",
        "machine.threads: should be a valid integer",
        "data.options.train_count: should be a valid integer, got [1]",
        "the override nonsense: write it as",
        "the override seed.x=1: seed is not a table",
    ):
        assert expected in message
    assert message.count("data.options.train_count") == 1


def test_divisions_ascend() -> None:
    with pytest.raises(UserError, match=r"schedule.divisions: should ascend, got \[3, 2\]"):
        load_recipe("planted", ["schedule.divisions=[3, 2]"])


def test_an_override_cannot_smuggle_a_second_key() -> None:
    with pytest.raises(UserError, match="seed"):
        load_recipe("planted", ["seed=1\nname='x'"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("plantd", "did you mean planted"), ("zzz", "cifar10-plain-acu"), ("missing.toml", "there is no recipe at")],
)
def test_unknown_recipes(name: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        load_recipe(name)


def test_broken_files(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("a = = 1")
    with pytest.raises(UserError, match=r"broken\.toml is not TOML.*line 1"):
        load_recipe(str(tmp_path / "broken.toml"))
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(UserError, match=r"latin\.toml cannot be read"):
        load_recipe(str(tmp_path / "latin.toml"))
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(UserError, match="name: missing"):
        load_recipe(str(tmp_path / "empty.toml"))
    with pytest.raises(UserError, match="is not a file, so it cannot be a recipe"):
        load_recipe(str(tmp_path))


def test_freezing_needs_positions() -> None:
    with pytest.raises(UserError, match="compare_frozen: needs"):
        load_recipe("planted", ["network.unit=convolution"])


def test_changed_merges_tables() -> None:
    recipe = load_recipe("planted")
    changed = recipe.changed(name="other", schedule={"iterations": 3}, round_and_finetune=None)
    assert (changed.name, changed.schedule.iterations, changed.round_and_finetune) == ("other", 3, None)
    assert changed.schedule.divisions == recipe.schedule.divisions
    assert recipe.schedule.iterations != 3


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("paper={measure='test error %'}", "paper: give a result, an improvement, or both"),
        ("paper={measure='test error %', base='planted', result=1}", "paper: base and improvement belong together"),
        ("paper={measure='error', result=1}", "paper.measure"),
        ("start={recipe='planted', positions='learned'}", "start.positions"),
    ],
)
def test_the_papers_figures_are_whole(table: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        load_recipe("planted", [table])
