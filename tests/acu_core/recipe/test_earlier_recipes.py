"""Recipes that lie on disk from the time when options were numbers and texts without types."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from acu_core.forecast.known_data import SIZES, parameters, recipe_network
from acu_core.learn.optimizer import new_optimizer
from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.alexnet import AlexNet
from acu_core.nn.plain_network import Plain
from acu_core.nn.planted_network import Planted
from acu_core.nn.residual_network import Residual
from acu_core.nn.resnet26 import ResNet26
from acu_core.recipe.recipe_file import built_in_recipes, built_in_text, load_recipe, parse_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# All built-in recipes as a run's recipe.toml held them then, and how many parameters their networks had.
EARLIER: dict[str, Any] = json.loads((Path(__file__).parent / "recipes_before_tables.json").read_text())
CLASSES: dict[str, Any] = {
    "plain": Plain,
    "residual": Residual,
    "alexnet": AlexNet,
    "resnet26": ResNet26,
    "planted": Planted,
}


def test_all_are_there() -> None:
    small = {name for name in built_in_recipes() if "-small-" in name}
    assert small
    assert set(EARLIER) == set(built_in_recipes()) - small


@pytest.mark.parametrize("name", EARLIER)
def test_an_earlier_run_compares_equal(name: str) -> None:
    assert "sgd" not in EARLIER[name]["recipe"]
    assert parse_recipe(EARLIER[name]["recipe"], "recipe.toml") == load_recipe(name)


@pytest.mark.parametrize("name", EARLIER)
def test_an_earlier_recipe_means_the_same(name: str) -> None:
    values = tomllib.loads(EARLIER[name]["recipe"])
    recipe = load_recipe(name)
    resolved = recipe.model_dump(exclude_none=True)
    for table in ("mean", "std"):
        if table in values["data"]["options"]:
            values["data"]["options"][table] = [float(part) for part in values["data"]["options"][table].split(",")]
    for table in ("data", "network"):
        earlier, now = values[table].pop("options"), resolved[table].pop("options")
        assert earlier.items() <= now.items()
        values[table]["options"] = resolved[table]["options"] = {}
    added = {"optimizer": {"name": "sgd", "nesterov": False}, "data": {"validation_images": 0}}
    added["schedule"] = {"name": "steps", "keep": [], "keep_best": False}
    added["machine"] = {"precision": "float32", "compile": False, "cuda_graph": False}
    added["network"] = {"batch_norm": "synchronized"}
    for table, keys in added.items():
        assert {key: resolved[table].pop(key) for key in keys} == keys
    assert resolved == values


@pytest.mark.parametrize("name", EARLIER)
def test_an_earlier_recipe_builds_the_same_network(name: str) -> None:
    values = tomllib.loads(EARLIER[name]["recipe"])["network"]
    recipe = parse_recipe(EARLIER[name]["recipe"], "recipe.toml")
    size = SIZES[recipe.data.name]
    with torch.device("meta"):
        model = recipe_network(recipe)
        direct = CLASSES[values["name"]](size.channels, size.classes, values["unit"], **values["options"])
    assert model is not None
    assert type(model) is type(direct)
    assert str(model) == str(direct)
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in direct.state_dict().items()
    }
    assert parameters(recipe) == EARLIER[name]["parameters"]
    optimizer = new_optimizer(model, recipe)
    assert type(optimizer) is torch.optim.SGD
    assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
    assert bool(active_layers(model)) == ("positions" in {group["role"] for group in optimizer.param_groups})


def test_texts_for_lists_become_lists() -> None:
    text = built_in_text("places365-alexnet-acu").replace("[0.485, 0.456, 0.406]", '"0.1, 0.2,0.3"')
    changes = ["network.name=torchvision:resnet18", "network.options={except_layers = 'conv1, layer1.*'}"]
    recipe = parse_recipe(text, "text", changes)
    assert recipe.model_dump()["data"]["options"]["mean"] == [0.1, 0.2, 0.3]
    assert recipe.model_dump()["network"]["options"]["except_layers"] == ["conv1", "layer1.*"]
    none = parse_recipe(text, "text", [changes[0], "network.options={except_layers = ''}"])
    assert none.model_dump()["network"]["options"]["except_layers"] == []
