"""Every row of a table has a whole recipe, whose header and values agree."""

from __future__ import annotations

import re

import pytest
import torch

from acu_core.errors import UserError
from acu_core.experiments.rounding import finetuning_recipe
from acu_core.forecast.known_data import SIZES, parameters, recipe_network
from acu_core.nn.active_conv2d import active_layers
from acu_core.recipe.recipe_file import built_in_recipes, built_in_text, load_recipe
from acu_core.reproduce.scaling import scaled
from acu_core.reproduce.tables import TABLES, find_table

ROWS = sorted({row.recipe for table in TABLES.values() if table.of_paper for row in table.rows})
SMALL = {row.recipe: row for table in TABLES.values() if not table.of_paper for row in table.rows}
# What the paper reports: DESIGN 6.
PUBLISHED = {
    "cifar10-plain-base": 8.01,
    "cifar10-plain-acu": 7.33,
    "cifar10-residual-base": 7.64,
    "cifar10-residual-acu": 7.12,
    "cifar100-plain-base": 27.85,
    "cifar100-plain-acu": 27.11,
    "cifar100-residual-base": 27.93,
    "cifar100-residual-acu": 27.47,
    "places365-alexnet-base": 81.29,
    "places365-alexnet-acu": 82.08,
    "places365-resnet26-base": 85.24,
    "places365-resnet26-acu": 85.73,
}
ABLATION = {
    "cifar10-plain-base-d2": -0.02,
    "cifar10-plain-acu-round": 0.32,
    "cifar10-plain-acu-c23": 0.58,
    "cifar10-plain-acu": 0.68,
    "cifar10-plain-base-f5": 0.72,
    "cifar10-plain-acu-f5": 1.12,
}


def header(name: str) -> str:
    """The comment at the top as one line of words."""
    comment = built_in_text(name).split("\nname =")[0]
    return " ".join(line.lstrip("# ") for line in comment.splitlines())


def test_all_rows_have_a_recipe_and_all_recipes_a_row() -> None:
    assert {*ROWS, *SMALL, "planted"} == set(built_in_recipes())
    assert set(ROWS) == set(PUBLISHED) | set(ABLATION)
    assert [len(TABLES[name].rows) for name in ("cifar10", "cifar100", "ablation", "places365")] == [4, 4, 7, 4]


@pytest.mark.parametrize("name", ROWS)
def test_the_papers_figures(name: str) -> None:
    paper = load_recipe(name).paper
    assert paper is not None
    assert paper.result == PUBLISHED.get(name)
    assert paper.measure == ("top-5 accuracy %" if name.startswith("places365") else "test error %")
    if name in ABLATION:
        assert (paper.base, paper.improvement) == ("cifar10-plain-base", ABLATION[name])
    elif name.endswith("-acu"):
        assert paper.base == name[: -len("acu")] + "base"
        assert paper.improvement == pytest.approx(abs(PUBLISHED[paper.base] - PUBLISHED[name]))
    else:
        assert paper.base is None


@pytest.mark.parametrize("name", ROWS)
def test_header_and_values_agree(name: str) -> None:
    recipe, text = load_recipe(name), header(name)
    assert recipe.paper is not None
    if recipe.paper.result is not None:
        kind = "test error" if recipe.paper.measure == "test error %" else "top-5 accuracy"
        assert f"{recipe.paper.result:.2f} % {kind}" in text
    if recipe.paper.improvement is not None:
        assert f"{recipe.paper.improvement:+.2f} points over {recipe.paper.base}" in text
    assert "not reproduced here yet" in text or re.search(r"; here: \d\.\d\d %", text)
    assert re.search(r" time +(estimated|measured)", text)
    assert re.search(r" assumed +\w", text)
    assert f"command   acu {'reproduce ablation' if recipe.start else f'train {name}'} --data" in text
    # What the header says of the schedule stands in the values.
    for number in recipe.schedule.divisions:
        assert f"{number:,}" in text
    assert f"{recipe.schedule.iterations:,} iterations" in text
    for decay in re.findall(r"weight decay (\d+e-\d)", text):
        assert recipe.optimizer.weight_decay == float(decay)
    for rate in re.findall(r"learning rate (\d[.\d]*)", text):
        assert recipe.optimizer.learning_rate == float(rate)
    for pixels in re.findall(r"(\d+) pixels of padding", text):
        assert recipe.data.crop_padding == int(pixels)
    for size in re.findall(r"batches of (\d+)", text):
        assert recipe.data.batch_size == int(size)
    assert recipe.machine.memory_format == "channels_last"


@pytest.mark.parametrize("name", [*ROWS, *SMALL])
def test_the_network_builds_and_takes_the_images(name: str) -> None:
    recipe = load_recipe(name)
    size = SIZES[recipe.data.name]
    with torch.device("meta"):
        model = recipe_network(recipe)
        assert model is not None
        logits = model(torch.empty(2, size.channels, size.size, size.size))
    assert logits.shape == (2, size.classes)
    assert bool(active_layers(model)) == (recipe.network.unit == "acu")
    assert "-acu" in name if active_layers(model) else "-base" in name


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("cifar10-plain-base", 0.82),
        ("cifar10-plain-acu", 0.82),
        ("cifar10-plain-acu-c23", 0.82),
        ("cifar10-plain-base-f5", 1.66),
        ("cifar10-plain-acu-f5", 1.66),
    ],
)
def test_parameters_are_the_papers(name: str, millions: float) -> None:
    count = parameters(load_recipe(name))
    assert count is not None
    assert round(count / 2**20, 2) == millions


@pytest.mark.parametrize("name", [name for name in ROWS if load_recipe(name).paper.base is not None])  # type: ignore[union-attr]
def test_a_row_differs_from_its_base_in_the_network_only(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.paper is not None
    base = load_recipe(str(recipe.paper.base)).model_dump()
    values = recipe.model_dump()
    for key in ("name", "description", "paper", "network", "round_and_finetune", "start"):
        del values[key], base[key]
    if recipe.start is not None:
        for key in ("schedule", "optimizer"):
            del values[key], base[key]
    assert values == base


@pytest.mark.parametrize("name", ["cifar10-plain-acu-round", *(name for name in SMALL if name.endswith("-round"))])
def test_the_recipe_of_acu_round_is_what_round_and_finetune_does(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.start is not None
    derived = finetuning_recipe(load_recipe(recipe.start.recipe), None).model_dump()
    values = recipe.model_dump()
    for key in ("name", "description", "paper", "start"):
        del values[key], derived[key]
    assert values == derived


def test_the_base_of_a_row_stands_above_it() -> None:
    for table in TABLES.values():
        above: list[str] = []
        for row in table.rows:
            paper = load_recipe(row.recipe).paper
            base = paper.base if paper is not None else row.base
            assert base is None or base in above or base == row.recipe, row
            assert (paper is None) != table.of_paper
            above.append(row.recipe)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_recipe_is_the_plain_one_at_half_its_width_and_a_twentieth_of_its_schedule(name: str) -> None:
    values = load_recipe(name).model_dump()
    plain = "cifar10-plain-base" if name.endswith("-base") else "cifar10-plain-acu"
    if name.endswith("-round"):
        plain += "-round"
    expected = scaled(load_recipe(plain), 1 / 20).model_dump()
    assert values["network"]["options"].pop("width") == 0.5
    del expected["network"]["options"]["width"]
    if name.endswith("-random"):
        assert values["network"]["options"].pop("shape") == "random"
        del expected["network"]["options"]["shape"]
        expected["optimizer"]["freeze_positions"] = True
        expected["round_and_finetune"] = None
    for key in ("name", "description", "paper"):
        del values[key], expected[key]
    values["data"]["name"] = "cifar10"
    for key in ("evaluate_every", "checkpoint_every"):
        del values["schedule"][key], expected["schedule"][key]
    if values["start"] is not None:
        values["start"]["recipe"] = expected["start"]["recipe"]
    assert values == expected


@pytest.mark.parametrize("name", SMALL)
def test_header_of_a_small_recipe(name: str) -> None:
    text, data = header(name), "cifar10.npz" if name.startswith("cifar10") else "/usr/share/datasets/fashion-mnist"
    (table,) = (table.name for table in TABLES.values() if SMALL[name] in table.rows)
    seeds = 5 if table == "small" else 3
    assert f"command acu reproduce {table} --seeds {seeds} --data {data} " in " ".join(text.split())
    assert re.search(r" time +(about|estimated)", text)
    assert re.search(r" expected +(\d|not trained yet)", text)
    assert re.search(r" chosen +\w", text)


def test_unknown_tables() -> None:
    assert find_table("ablation") is TABLES["ablation"]
    with pytest.raises(UserError, match="did you mean places365"):
        find_table("places")
