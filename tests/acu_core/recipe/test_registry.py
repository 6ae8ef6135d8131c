"""A data set, a network and an optimizer from outside the package: one module, three lines of the registries."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from acu_core.data.loading import load_data_set
from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.networks import build_network
from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.recipe_file import load_recipe, parse_recipe, recipe_toml
from acu_core.recipe.registry import DATA_SETS, NETWORKS, OPTIMIZERS, SCHEDULES, Registry
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.train.stored_run import StoredRun

OUTSIDE = """
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from acu_core.data.data_source import DataSource
from acu_core.data.in_memory import InMemoryData
from acu_core.nn.active_conv2d import ActiveConv2d
from acu_core.recipe.data_table import DataTable
from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.optimizer_table import OptimizerTable
from acu_core.recipe.schedule_table import ScheduleTable
from acu_core.recipe.table import Table


class StripeOptions(Table):
    count: Annotated[int, Field(ge=2, le=1000)] = 40


class Stripes(DataTable):
    loaded_by: ClassVar[str] = "outside_acu:stripes"
    options: StripeOptions = Field(default_factory=StripeOptions)


def stripes(source: DataSource, *, count: int) -> InMemoryData:
    draw = torch.Generator().manual_seed(source.seed)
    labels = torch.arange(count) % 2
    images = 0.1 * torch.randn(count, 1, 8, 8, generator=draw)
    images[labels == 1, :, ::2] += 1
    images[labels == 0, :, :, ::2] += 1
    return InMemoryData(
        name=source.name, train_images=images, train_labels=labels, test_images=images, test_labels=labels,
        class_names=("upright", "level"), fingerprint={"data": f"{source.seed} {count}"},
    )


class SmallOptions(Table):
    width: Annotated[int, Field(ge=1, le=64)] = 4


class Small(NetworkTable):
    built_by: ClassVar[str] = "outside_acu:small"
    options: SmallOptions = Field(default_factory=SmallOptions)


def small(in_channels: int, classes: int, unit: str, width: int) -> torch.nn.Module:
    kind = ActiveConv2d if unit == "acu" else torch.nn.Conv2d
    return torch.nn.Sequential(
        kind(in_channels, width, 3), torch.nn.BatchNorm2d(width), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(width, classes),
    )


class Halves(ScheduleTable):
    half_life: int

    def rate(self, first: float, iteration: int) -> float:
        return first * 0.5 ** ((iteration - 1) // self.half_life)


class AdamW(OptimizerTable):
    built_by: ClassVar[str] = "torch.optim:AdamW"
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-8
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(default_factory=lambda: [0.9, 0.999])
"""
CHANGES = [
    "data.name=stripes",
    "data.options={}",
    "network.name=small",
    "network.options={width=3}",
    "optimizer={name='theirs', learning_rate=0.01, eps=1e-6}",
    "data.batch_size=8",
    "machine.threads=1",
    "machine.device=cpu",
    "schedule={iterations=4, warm_up=1, checkpoint_every=2}",
    "compare_frozen=false",
]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "outside_acu.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    for registry in (DATA_SETS, NETWORKS, OPTIMIZERS, SCHEDULES):
        monkeypatch.setattr(registry, "_places", dict(registry._places))
    DATA_SETS.register("stripes", "outside_acu:Stripes")
    NETWORKS.register("small", "outside_acu:Small")
    OPTIMIZERS.register("theirs", "outside_acu:AdamW")
    SCHEDULES.register("halves", "outside_acu:Halves")
    yield
    sys.modules.pop("outside_acu", None)


@pytest.mark.usefixtures("outside")
def test_what_comes_from_outside_trains_resumes_and_is_evaluated(
    tmp_path: Path, content: Callable[[Path], dict[str, object]]
) -> None:
    recipe = load_recipe("planted", CHANGES)
    assert parse_recipe(recipe_toml(recipe), "again") == recipe
    assert recipe_toml(recipe).count("betas") == 1
    assert train(recipe, tmp_path / "run").finished
    checkpoint = load_latest_checkpoint(RunDirectory.open(tmp_path / "run"))
    assert checkpoint is not None
    assert checkpoint.model["0.weight"].shape == (3, 1, 9)
    (group, *_) = checkpoint.optimizer["param_groups"]
    assert (group["eps"], group["betas"]) == (1e-6, (0.9, 0.999))
    resume(tmp_path / "run", ["schedule.iterations=6"])
    assert evaluate_run(tmp_path / "run").evaluation.images == 40
    train(recipe.changed(schedule={"iterations": 6}), tmp_path / "whole")
    assert content(tmp_path / "run") == content(tmp_path / "whole")


@pytest.mark.usefixtures("outside")
def test_positions_move_by_their_own_rate_with_any_optimizer(
    tmp_path: Path, content: Callable[[Path], dict[str, object]]
) -> None:
    table = "optimizer={name='theirs', learning_rate=0.001, position_learning_rate=0.01}"
    recipe = load_recipe("planted", [*CHANGES, table, "schedule={iterations=6, checkpoint_every=2, divisions=[5]}"])
    assert parse_recipe(recipe_toml(recipe), "again") == recipe
    assert "position_learning_rate_factor" not in recipe_toml(recipe)
    train(recipe, tmp_path / "run")
    run = StoredRun.open(tmp_path / "run")
    assert run.recipe == recipe
    assert [entry.position_learning_rate for entry in run.metrics().training] == [0.01] * 5 + [0.001]
    snapshots = SnapshotFile(run.directory.positions)
    (layer,) = snapshots.layers
    first, second, *_ = snapshots.positions(layer.name)
    # Adam's first step of each coordinate is its rate, by its normalisation.
    moved = np.abs(second - first)
    assert 0.005 < np.median(moved) < 0.011
    longer = ["schedule.iterations=8"]
    resume(tmp_path / "run", longer)
    train(recipe.changed(schedule={"iterations": 8}), tmp_path / "whole")
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_positions_have_one_rate() -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("planted", ["optimizer.position_learning_rate=0.01"])
    assert str(caught.value) == (
        "recipe planted cannot be used: optimizer.position_learning_rate: give this or position_learning_rate_factor, "
        "not both: they say the same thing in two ways"
    )
    table = "optimizer={learning_rate=0.1, position_learning_rate=%s}"
    with pytest.raises(UserError, match="should be greater than or equal to 0, got -1"):
        load_recipe("planted", [table % -1])
    with pytest.raises(UserError, match="lead to a rate of about 1e-31"):
        load_recipe("planted", [table % 1e-29, "schedule.divisions=[1, 2]"])
    plain = load_recipe("planted", ["optimizer={learning_rate=0.1}"])
    assert plain.optimizer.position_learning_rate_factor == 0.01
    assert "position_learning_rate = " not in recipe_toml(plain)
    given = load_recipe("planted", [table % 0.01])
    assert given.changed(optimizer={"position_learning_rate": None, "learning_rate": 0.1}) == plain


@pytest.mark.usefixtures("outside")
def test_each_of_them_fits_the_others_of_the_package(tmp_path: Path) -> None:
    for name, change in (
        ("data", ["data.name=stripes", "network.name=plain"]),
        ("network", ["network.name=small", "data.options={train_count=40, test_count=10}"]),
        (
            "optimizer",
            ["optimizer={name='theirs', learning_rate=0.01}", "data.options={train_count=40, test_count=10}"],
        ),
    ):
        short = [part for part in CHANGES if part.startswith(("data.batch", "machine", "schedule", "compare"))]
        assert train(load_recipe("planted", [*change, *short]), tmp_path / name).finished


@pytest.mark.usefixtures("outside")
def test_a_schedule_from_outside_sets_the_rates(tmp_path: Path) -> None:
    short = [part for part in CHANGES if part.startswith(("data.batch", "machine", "compare"))]
    table = "schedule={name='halves', iterations=6, half_life=2}"
    recipe = load_recipe("planted", [*short, "data.options={train_count=40, test_count=10}", table])
    assert parse_recipe(recipe_toml(recipe), "again") == recipe
    train(recipe, tmp_path / "run")
    records = StoredRun.open(tmp_path / "run").metrics().training
    assert [record.learning_rate for record in records] == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]


@pytest.mark.usefixtures("outside")
def test_their_options_are_checked_like_all_others() -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("planted", [*CHANGES, "network.options={widht=3}", "data.options.count=1", "optimizer.epz=1"])
    assert str(caught.value).splitlines()[1:] == [
        "  data.options.count: should be greater than or equal to 2, got 1",
        "  network.options.widht: unknown key; did you mean network.options.width?",
        "  optimizer.epz: unknown key; did you mean optimizer.eps?",
    ]
    assert load_data_set("stripes", count=6).train_count == 6
    assert len(active_layers(build_network("small", in_channels=2, classes=3))) == 1


def test_a_name_belongs_to_one() -> None:
    registry: Registry[NetworkTable] = Registry("network", NetworkTable, {"a": "m:A", "b:": "m:B"})
    registry.register("a", "m:A")
    with pytest.raises(ValueError, match="the network a is m:A already, it cannot be m:C too"):
        registry.register("a", "m:C")
    registry.register("c", "collections:OrderedDict")
    with pytest.raises(TypeError, match="collections:OrderedDict, registered as the network c, is no subclass of Netw"):
        registry.find("c")
    assert registry.find("d") is None
    assert list(registry) == ["a", "b:", "c"]


@pytest.mark.parametrize("registry", [DATA_SETS, NETWORKS, OPTIMIZERS])
def test_every_entry_leads_to_its_table_and_what_makes_it(registry: Registry[NetworkTable]) -> None:
    for name in registry:
        table = registry.find(name + ("resnet18" if name.endswith(":") else ""))
        assert table is not None
        place = getattr(table, "loaded_by", None) or table.built_by
        module, _, attribute = place.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_sgd_is_what_it_was() -> None:
    from acu_core.learn.optimizer import new_optimizer

    recipe = load_recipe("planted", ["optimizer.momentum=0.5"])
    optimizer = new_optimizer(build_network("planted", in_channels=2, classes=8), recipe)
    assert type(optimizer) is torch.optim.SGD
    assert {
        (group["role"], group["lr"], group["momentum"], group["weight_decay"]) for group in optimizer.param_groups
    } == {
        ("weights", 0.1, 0.5, 0.0001),
        ("rest", 0.1, 0.5, 0.0),
        ("positions", 0.1 * 0.05, 0.5, 0.0),
    }
