"""Values that once ended in a traceback, a hang or a crash, and whatever else somebody may type."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from acu_core.errors import UserError
from acu_core.recipe.networks import ready_made
from acu_core.recipe.networks.torchvision import torchvision_models
from acu_core.recipe.recipe_file import built_in_recipes, built_in_text, load_recipe, parse_recipe, recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.run_directory import RunDirectory


def refused(*overrides: str, recipe: str = "planted") -> list[str]:
    """What is said of each problem."""
    with pytest.raises(UserError) as caught:
        load_recipe(recipe, ["compare_frozen=false", *overrides])
    message = str(caught.value)
    assert max(len(line) for line in message.splitlines()) < 2000
    assert "--" not in message
    before = f"recipe {recipe} cannot be used:"
    assert message.startswith(before)
    return [line.strip() for line in message[len(before) :].strip().splitlines()]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("iterations=5", "iterations: unknown key; did you mean schedule.iterations?"),
        ("warm_up=5", "warm_up: unknown key; did you mean schedule.warm_up?"),
        ("schedule.batch_size=5", "schedule.batch_size: unknown key; did you mean data.batch_size?"),
        ("width=5", "width: unknown key; did you mean network.options.width?"),
        ("lerning_rate=5", "lerning_rate: unknown key; did you mean optimizer.learning_rate?"),
        ("optimizer.momentun=.5", "optimizer.momentun: unknown key; did you mean optimizer.momentum?"),
        ("network.options.widht=5", "network.options.widht: unknown key; did you mean network.options.width?"),
        ("network.options.colour=5", "network.options.colour: unknown key; there are width"),
        ("data.options.test_cuont=5", "data.options.test_cuont: unknown key; did you mean data.options.test_count?"),
        ("qqqq=5", "qqqq: unknown key"),
        ("network.name=plai", "network.name: there is no network 'plai'; did you mean plain?"),
        ("data.name=cifar", "data.name: there is no data set 'cifar'; did you mean cifar10?"),
        ("optimizer.name=sdg", "optimizer.name: there is no optimizer 'sdg'; did you mean sgd?"),
        ("optimizer.name=adam", "optimizer.name: there is no optimizer 'adam'; did you mean adamw?"),
        ("optimizer.name=lion", "optimizer.name: there is no optimizer 'lion'; known: sgd, adamw"),
        ("network.name=7", "network.name: should be a valid string, got 7"),
        ("network=7", "network: should be a table, got 7"),
        ("network=[7]", "network: should be a table, got [7]"),
        ("machine.device=gpu", "machine.device: there is no device gpu: auto, cpu, cuda, cuda:<number>, mps"),
        ("machine.device=cuda:0x1", "machine.device: there is no device cuda:0x1: auto, cpu, cuda, cuda:<number>, mps"),
        (
            "seed=99999999999999999999",
            "seed: should be less than or equal to 9223372036854775807, got 99999999999999999999",
        ),
        ("seed=true", "seed: should be a valid integer, got true"),
        ("data.options.test_count=true", "data.options.test_count: should be a valid integer, got true"),
        (
            "network.options.width=10000000000",
            "network.options.width: should be less than or equal to 65536, got 10000000000",
        ),
        ("machine.threads=100000", "machine.threads: should be less than or equal to 1024, got 100000"),
        ("machine.workers=100000", "machine.workers: should be less than or equal to 256, got 100000"),
        ("data.crop_padding=17", "data.crop_padding: should be less than or equal to 16, got 17"),
        ("optimizer.momentum=1", "optimizer.momentum: should be less than 1, got 1"),
        ("optimizer.weight_decay=5e-324", "optimizer.weight_decay: should be 0, or at least 1e-30, got 5e-324"),
        ("round_and_finetune.divisions=[20, 10]", "round_and_finetune.divisions: should ascend, got [20, 10]"),
        ("optimizer.nesterov=1", "optimizer.nesterov: should be a valid boolean, got 1"),
        ("schedule.name=cosin", "schedule.name: there is no schedule 'cosin'; did you mean cosine?"),
        ("schedule.keep=[5, 5]", "schedule.keep: should ascend, got [5, 5]"),
        ("schedule.keep=[-1]", "schedule.keep.0: should be greater than or equal to 0, got -1"),
        ("schedule.keep=[5000]", "schedule.keep: 5000 is beyond schedule.iterations, 1200: it would never be saved"),
        (
            "schedule.keep_best=true",
            "schedule.keep_best: needs data.validation_images: the best is chosen by images held out of the training "
            "set, never by the test images",
        ),
        ("data.validation_images=-1", "data.validation_images: should be greater than or equal to 0, got -1"),
        ("average.decay=1.0", "average.decay: should be less than 1, got 1.0"),
        ("average.deacy=0.5", "average.deacy: unknown key; did you mean average.decay?"),
        (
            "schedule={name='cosine', iterations=50, linear_start=50}",
            "schedule.linear_start: 50 leaves nothing for the cosine: it must be below schedule.iterations, 50",
        ),
        (
            "schedule={name='cosine', iterations=50, final_factor=1.5}",
            "schedule.final_factor: should be less than or equal to 1, got 1.5",
        ),
        (
            "schedule={name='cosine', iterations=50, final_factor=1e-30}",
            "schedule.final_factor: with optimizer.learning_rate, the positions' rate and schedule.final_factor, the "
            "cosine leads to a rate of about 1e-31: it must stay from 1e-30 to 1e+30",
        ),
        (
            "schedule={name='cosine', iterations=50, divisions=[5]}",
            "schedule.divisions: is of steps, not of cosine: leave it out, or give the whole table",
        ),
        (
            "optimizer={learning_rate=0.1, momentum=0.0, nesterov=true}",
            "optimizer.nesterov: needs optimizer.momentum above 0",
        ),
        (
            "optimizer={name='adamw', learning_rate=0.1}",
            "optimizer.position_learning_rate: missing: the learning rate of adamw says nothing of pixels, so the "
            "positions' rate must be given, in pixels an iteration (the paper's is 0.001)",
        ),
        (
            "optimizer={name='adamw', learning_rate=0.1, position_learning_rate_factor=0.01}",
            "optimizer.position_learning_rate_factor: is not for adamw, whose learning rate says nothing of pixels: "
            "leave it out, and give optimizer.position_learning_rate in pixels an iteration (the paper's is 0.001)",
        ),
        (
            "optimizer={name='adamw', learning_rate=0.1, position_learning_rate=0.1, betas=[0.9, 1.0]}",
            "optimizer.betas.1: should be less than 1, got 1.0",
        ),
        (
            "optimizer={name='adamw', learning_rate=0.1, position_learning_rate=0.1, eps=-1.0}",
            "optimizer.eps: should be greater than or equal to 0, got -1.0",
        ),
        ("description=\udcff", "description: should be a text that UTF-8 can write, got '\\udcff'"),
        ("data.path=a\udcff", "data.path: should be a text that UTF-8 can write, got 'a\\udcff'"),
        ("description='a'\nname='b'", "TOML"),
        ('data.path="a\\u0000b"', "data.path: should not hold the character 0, which no path can, got 'a\\x00b'"),
    ],
)
def test_the_full_key_the_short_value_and_the_nearest_key(override: str, problem: str) -> None:
    if problem == "TOML":
        # A second key within a value stays a text.
        assert load_recipe("planted", [override]).description == "'a'\nname='b'"
    else:
        assert refused(override) == [problem]


@pytest.mark.parametrize("value", ["1e300", "5e-324", "-1.0", "nan", "inf", "1e31"])
@pytest.mark.parametrize(
    "key",
    [
        "optimizer.learning_rate",
        "optimizer.weight_decay",
        "optimizer.gradient_clip",
        "optimizer.position_learning_rate_factor",
        "schedule.divide_by",
        "network.batch_norm_fraction",
        "round_and_finetune.learning_rate",
    ],
)
def test_rates_stay_where_float32_computes(key: str, value: str) -> None:
    (problem,) = refused(f"{key}={value}")
    assert problem.startswith(f"{key}: should be")


@pytest.mark.parametrize(
    "key", ["data.batch_size", "data.evaluation_batch_size", "schedule.iterations", "schedule.warm_up"]
)
def test_counts_stay_countable(key: str) -> None:
    (problem,) = refused(f"{key}=1{'0' * 30}")
    assert problem.startswith(f"{key}: should be less than or equal to")
    (problem,) = refused(f"{key}=0x{'f' * 9000}")
    assert problem.endswith("got a number of thousands of digits")


@pytest.mark.parametrize("table", ["schedule", "round_and_finetune"])
@pytest.mark.parametrize(
    "changes", [["optimizer.learning_rate=1", "schedule.divide_by=1e20"], ["schedule.divide_by=1e-20"]]
)
def test_divisions_never_lead_out_of_float32(table: str, changes: list[str]) -> None:
    (problem,) = refused(
        "schedule.divisions=[]", *changes, "round_and_finetune.divisions=[]", f"{table}.divisions=[1, 2]"
    )
    assert problem.startswith(f"{table}.divisions: with optimizer.learning_rate")
    assert "must stay from 1e-30 to 1e+30" in problem


def test_everything_is_said_at_once() -> None:
    problems = refused("iterations=5", "network.name=plai", "network.unit=dense", "optimizer.momentum=2", "nonsense")
    assert problems == [
        "the override nonsense: write it as table.key=value, for example schedule.iterations=500",
        "network.name: there is no network 'plai'; did you mean plain?",
        "network.unit: should be 'acu' or 'convolution', got 'dense'",
        "optimizer.momentum: should be less than 1, got 2",
        "iterations: unknown key; did you mean schedule.iterations?",
    ]


def test_absurd_overrides() -> None:
    (deep,) = refused(f"seed={'[' * 5000}")
    assert deep.startswith("the override seed=[[[")
    assert deep.endswith("its value is nested too deeply")
    (key,) = refused(f"{'a.' * 5000}b=1")
    assert key.endswith("a recipe has no key in so many tables")
    (long,) = refused(f"{'a' * 5000}=1")
    assert len(long) < 100
    assert refused(f"seed={'9' * 9000}")[0].startswith("seed: should be a valid integer, got '999")
    assert refused("=5") == ["the override =5: write it as table.key=value, for example schedule.iterations=500"]
    assert refused("\x1b[31m=5") == ["\\x1b[31m: unknown key"]


def test_a_file_that_is_no_recipe_is_not_listed_whole() -> None:
    with pytest.raises(UserError) as caught:
        parse_recipe("\n".join(f"key{number} = 1" for number in range(1000)), "it")
    assert str(caught.value).splitlines()[-1].strip().startswith("and 98")
    for text in (f"seed = {'[' * 5000}", f"seed = {'9' * 9000}"):
        with pytest.raises(UserError, match="it is n") as caught:
            parse_recipe(text, "it")
        assert "\n" not in str(caught.value)


def test_torchvisions_models_are_named_before_anything_else() -> None:
    problems = refused("network.name=torchvision:resnet19")
    assert problems[0].startswith(
        "network.name: torchvision has no classification model 'resnet19'; did you mean resnet1"
    )
    assert len(problems) == 1


def test_without_torchvision_its_names_cannot_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_made, "find_spec", lambda name: None)
    torchvision_models.cache_clear()
    try:
        assert torchvision_models() == ()
        assert load_recipe("planted", ["network.name=torchvision:any"]).network.name == "torchvision:any"
    finally:
        torchvision_models.cache_clear()


def test_names_of_derived_recipes_fit() -> None:
    recipe = load_recipe("planted", [f"name={'n' * 100}"])
    assert recipe.derived_name("-frozen") == "n" * 93 + "-frozen"
    assert recipe.changed(name=recipe.derived_name("-rounded")).name.endswith("n-rounded")
    assert load_recipe("planted").derived_name("-frozen") == "planted-frozen"


def test_a_change_in_python_is_checked_too() -> None:
    with pytest.raises(
        UserError, match=r"the recipe planted cannot be changed so: data\.batch_size: should be greater"
    ):
        load_recipe("planted").changed(data={"batch_size": 0})


def test_neither_a_good_nor_a_refused_recipe_loads_pytorch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom acu_cli.app import main\n"
        "for arguments in (['recipes', 'check', 'places365-alexnet-acu'],"
        " ['recipes', 'check', 'bad.toml'],"
        " ['train', '--set', 'network.name=torchvision:nosuchnet'],"
        " ['train', '--set', 'network.options.width=0'], ['train', '--device', 'gpu'],"
        " ['train', '--resume', 'run', '--set', 'iterations=5'],"
        " ['train', '--resume', 'run', '--set', 'schedule.iterations=many'],"
        " ['train', '--seed', '99999999999999999999']):\n"
        "    sys.argv = ['acu', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as end: print(end.code)\n"
        "heavy = {'torch', 'torchvision', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    (tmp_path / "bad.toml").write_text(built_in_text("planted").replace("momentum = 0.9", "momentum = 2"))
    RunDirectory.create(tmp_path / "run", built_in_text("planted"), {})
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stdout.splitlines() if line.isdigit()] == ["0", *("2" for _ in range(7))]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.toml", "run"]


def keys(values: dict[str, Any], before: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        found += [before + key, *(keys(value, f"{before}{key}.") if isinstance(value, dict) else [])]
    return found


KEYS = sorted({key for name in built_in_recipes() for key in keys(load_recipe(name).model_dump())})
NUMBERS = st.one_of(st.integers(), st.integers(-(10**40), 10**40), st.floats())
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.one_of(st.booleans(), NUMBERS, TEXTS, st.dates(), st.sampled_from(["torchvision:x", "plain", "cpu", "a, b"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def parsed(*arguments: Any) -> None:
    with contextlib.suppress(UserError):
        recipe = parse_recipe(*arguments)
        assert isinstance(recipe, Recipe)
        # What is accepted can be written into a run, and read again.
        assert parse_recipe(recipe_toml(recipe).encode().decode(), "again") == recipe


@settings(max_examples=80, deadline=None)
@given(name=st.sampled_from(built_in_recipes()), changes=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_of_any_values_only_errors_of_the_user_come(name: str, changes: dict[str, Any]) -> None:
    overrides = [f"{key}={tomli_w.dumps({'v': value}).strip()[4:]}" for key, value in changes.items()]
    parsed(built_in_text(name), name, overrides)


@settings(max_examples=80, deadline=None)
@given(text=st.one_of(st.text(), TEXTS), overrides=st.lists(st.text(), max_size=3))
def test_of_any_text_only_errors_of_the_user_come(text: str, overrides: list[str]) -> None:
    parsed(text, "text", overrides)
    parsed(built_in_text("planted"), "planted", overrides)


def test_the_rest_of_another_schedule_or_optimizer_is_named_as_such() -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("planted", ["schedule.name=cosine", "optimizer.betas=[0.9, 0.99]"])
    assert str(caught.value).splitlines()[1:] == [
        "  optimizer.betas: is of adamw, not of sgd: leave it out, or give the whole table",
        "  schedule.divisions: is of steps, not of cosine: leave it out, or give the whole table",
        "  schedule.divide_by: is of steps, not of cosine: leave it out, or give the whole table",
    ]
