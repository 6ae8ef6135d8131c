from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from acu_core.errors import UserError
from acu_core.reproduce.sweep_settings import Axis, SweepRequest, sweep_settings


def request(*over: str, recipe: str = "planted", **options: object) -> SweepRequest:
    return SweepRequest(recipe, tuple(map(Axis.of, over)), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("optimizer.learning_rate=0.1,0.05", ("0.1", "0.05")),
        (" optimizer.learning_rate = 0.1 , 0.05 ", ("0.1", "0.05")),
        ("schedule.divisions=[600, 960],[],[100]", ("[600, 960]", "[]", "[100]")),
        ("data.options={a=1, b=[2, 3]},{}", ("{a=1, b=[2, 3]}", "{}")),
        ("description='a, b',\"c,]\"", ("'a, b'", '"c,]"')),
        ("network.unit=acu", ("acu",)),
    ],
)
def test_values_end_at_commas_outside_brackets_and_quotes(text: str, values: tuple[str, ...]) -> None:
    axis = Axis.of(text)
    assert axis.key == text.partition("=")[0].strip()
    assert axis.values == values


@pytest.mark.parametrize("text", ["optimizer.learning_rate", "=0.1", "a.b=", "a.b=1,,2", "a.b=1,"])
def test_what_names_no_values(text: str) -> None:
    with pytest.raises(UserError, match=r"names no values: write it as table\.key=value,value"):
        Axis.of(text)


def test_every_combination() -> None:
    found = sweep_settings(request("optimizer.learning_rate=0.1,0.05", "network.unit=acu,convolution"))
    values = [(recipe.optimizer.learning_rate, recipe.network.unit) for _, recipe in found]
    assert values == [(0.1, "acu"), (0.1, "convolution"), (0.05, "acu"), (0.05, "convolution")]
    assert [recipe.seed for _, recipe in found] == [0] * 4
    row, _ = found[1]
    assert row.name == "optimizer.learning_rate=0.1, network.unit=convolution"
    assert row.recipe == "planted-learning_rate-0.1-unit-convolution"


def test_a_list() -> None:
    found = sweep_settings(request("schedule.iterations=300,600", "schedule.divisions=[150],[300, 500]", in_step=True))
    assert [(recipe.schedule.iterations, recipe.schedule.divisions) for _, recipe in found] == [
        (300, [150]),
        (600, [300, 500]),
    ]


def test_twins_are_not_trained_unless_as_a_setting() -> None:
    assert [
        recipe.compare_frozen for _, recipe in sweep_settings(request("optimizer.freeze_positions=false,true"))
    ] == [
        False,
        False,
    ]
    with pytest.raises(UserError, match="a sweep trains no frozen twins"):
        sweep_settings(request("optimizer.learning_rate=0.1", overrides=("compare_frozen=true",)))


def test_directories_are_each_settings_own() -> None:
    # Both would be called "_600_".
    found = sweep_settings(request("schedule.divisions=[600],[600, 700],[]"))
    assert len({row.recipe for row, _ in found}) == 3
    assert found[0][0].recipe.startswith("planted-divisions-_600_-")
    long = sweep_settings(request(f"data.path='{'x' * 300}','{'x' * 299}y'", recipe="cifar10-plain-acu"))
    assert len({row.recipe for row, _ in long}) == 2
    assert all(len(row.recipe) < 200 for row, _ in long)


def test_directories_do_not_depend_on_how_a_number_is_written() -> None:
    (first,), (second,) = (sweep_settings(request(f"optimizer.learning_rate={text}")) for text in ("0.10", "1e-1"))
    assert first == second


@pytest.mark.parametrize(
    ("over", "options", "said"),
    [
        ((), {}, "a sweep needs a key with several values"),
        (("seed=1,2",), {}, "has its own seeds"),
        (("schedule.warm_up=1,2",), {"overrides": ("seed=9",)}, "has its own seeds"),
        (("optimizer.learning_rate=0.1,0.10",), {}, "optimizer.learning_rate=0.1 is there twice"),
        (("optimizer.learning_rate=0.1", "optimizer.learning_rate=0.2"), {}, "is there twice: give all its values"),
        (("schedule.warm_up=1,2",), {"overrides": ("schedule.warm_up=3",)}, "cannot be fixed and swept at once"),
        (("schedule.warm_up=1,2", "seed=3"), {}, "has its own seeds"),
        (
            ("schedule.warm_up=1,2", "optimizer.momentum=0.1,0.2,0.3"),
            {"in_step": True},
            "as many values of every key: schedule.warm_up has 2, optimizer.momentum has 3",
        ),
        (("schedule.warm_up=1,2",), {"seeds": 6000}, "these are 12,000 runs"),
        (("schedule.warm_up=1,2",), {"seeds": 0}, "at least one seed"),
        (("optimizer.learning_rate=0.1,fast",), {}, "cannot be used: optimizer.learning_rate"),
        (("optimizer.speed=1,2",), {}, "optimizer.speed"),
        (("optimizer.momentum=0.1,0.2", "machine.threads=1,2"), {}, "machine.threads decides nothing that is compared"),
        (("schedule.evaluate_every=2,4",), {}, "schedule.evaluate_every decides nothing that is compared"),
        (("description=one,two",), {}, "description decides nothing that is compared"),
        (("data.path=a,b",), {}, "data.path decides nothing that is compared"),
        (("data.path=a,b",), {"data": Path("c")}, "data.path cannot be fixed and swept at once"),
    ],
)
def test_what_cannot_be_swept(over: tuple[str, ...], options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as raised:
        sweep_settings(request(*over, **options))
    assert said in str(raised.value)


def test_data_sets_that_are_read_can_be_swept() -> None:
    found = sweep_settings(SweepRequest("cifar10-plain-acu", (Axis.of("data.path=a.npz,b.npz"),)))
    assert [recipe.data.path for _, recipe in found] == ["a.npz", "b.npz"]


def test_a_recipe_that_goes_on_from_a_run() -> None:
    with pytest.raises(UserError, match="goes on from a finished run of cifar10-plain-acu: it cannot be swept"):
        sweep_settings(SweepRequest("cifar10-plain-acu-round", (Axis.of("data.batch_size=32,64"),)))


def test_where_a_sweep_lies_by_default() -> None:
    assert request("schedule.warm_up=1,2").directory == Path("sweeps/planted")
    assert SweepRequest("my/own.toml", ()).directory == Path("sweeps/own")


def test_settings_need_no_pytorch() -> None:
    program = (
        "import sys; from acu_core.reproduce.sweep_settings import *\n"
        "sweep_settings(SweepRequest('planted', (Axis.of('schedule.warm_up=1,2'),)))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
