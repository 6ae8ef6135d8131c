from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from acu_core.data.planted import planted_data
from acu_core.errors import Action, UserError
from acu_core.experiments.frozen_twin import train
from acu_core.experiments.stored_receptive_field import StoredReceptiveFields
from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.networks import network_of
from acu_core.nn.receptive_field import ReceptiveField, receptive_field
from acu_core.recipe.data_table import DataTable
from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.registry import DATA_SETS, NETWORKS
from acu_core.recipe.schema import Recipe
from acu_core.recipe.table import Table
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

Tiny = Callable[..., Recipe]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    # Large steps, so that the synapses leave the grid.
    path = tmp_path_factory.mktemp("runs") / "run"
    train(tiny("optimizer.position_learning_rate_factor=2.0"), path)
    return path


def snapshot(run: Path, number: int) -> dict[str, Any]:
    file = SnapshotFile(RunDirectory.open(run).positions)
    return {layer.name: np.array(file.positions(layer.name)[number]) for layer in file.layers}


def hashes(path: Path) -> dict[str, str]:
    files = [file for file in path.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def assert_same(found: ReceptiveField, expected: ReceptiveField) -> None:
    assert found.map.equal(expected.map)
    assert (found.total, found.centre, found.radius) == (expected.total, expected.centre, expected.radius)


def test_a_run_s_newest_weights_with_any_positions(run: Path) -> None:
    before, generator = hashes(run), torch.get_rng_state()
    fields = StoredReceptiveFields.open(run)
    assert torch.get_rng_state().equal(generator)
    assert fields.iteration == 12
    checkpoint = load_latest_checkpoint(RunDirectory.open(run))
    assert checkpoint is not None
    model = network_of(load_recipe("planted").network, in_channels=2, classes=8)
    model.load_state_dict(checkpoint.model)
    last = receptive_field(model, (2, 17, 17))
    assert_same(fields.learned(snapshot(run, -1)), last)
    # Begun on the grid, with which the newest weights are not those that they were learned with.
    on_grid = fields.learned(snapshot(run, 0))
    assert_same(fields.fixed_grid(), on_grid)
    assert on_grid.radius != pytest.approx(last.radius, rel=1e-2)
    assert hashes(run) == before


def test_the_data_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    images = {f"{part}_images": draw.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(8, dtype=np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "data.npz", **images, **labels)  # type: ignore[arg-type]
    changes = ["network.options={blocks=1}", "machine.device=cpu", "machine.threads=1", "data.batch_size=4"]
    changes += ["schedule.iterations=1", "schedule.divisions=[]", "compare_frozen=false"]
    train(load_recipe("cifar10-residual-acu", changes), tmp_path / "run", data_path=tmp_path / "data.npz")
    (tmp_path / "data.npz").unlink()
    field = StoredReceptiveFields.open(tmp_path / "run").fixed_grid()
    assert field.map.shape == (32, 32)
    assert field.map_size == (8, 8)


def test_recipes_tell_the_shape_of_their_images() -> None:
    assert load_recipe("planted").data.image_shape == planted_data(train_count=2, test_count=1).train_images.shape[1:]
    assert load_recipe("cifar100-plain-acu").data.image_shape == (3, 32, 32)
    assert load_recipe("places365-alexnet-acu").data.image_shape == (3, 224, 224)
    folder = {"name": "imagefolder", "batch_size": 4, "options": {"crop": 24, "resize": 30}}
    table = DATA_SETS.find("imagefolder")
    assert table is not None
    assert table.model_validate(folder).image_shape == (3, 24, 24)


class OtherOptions(Table):
    softmax: bool = False


class OtherNetwork(NetworkTable):
    built_by: ClassVar[str] = "a_plugin:build"
    options: OtherOptions = OtherOptions()


class OtherData(DataTable):
    loaded_by: ClassVar[str] = "a_plugin:load"
    is_made: ClassVar[bool] = True


class Trailing(nn.Module):
    """A network whose last tensor is not that of the logits."""

    def __init__(self, in_channels: int, classes: int, unit: str, softmax: bool) -> None:
        super().__init__()
        from acu_core.nn.active_conv2d import ActiveConv2d

        self.head = nn.Linear(3, classes)
        self.unit = ActiveConv2d(in_channels, 3, 3, padding=1)
        self.softmax = softmax

    def forward(self, images: Tensor) -> Tensor:
        found = self.unit(images)
        if self.softmax:
            found = found.softmax(1)
        logits: Tensor = self.head(found.mean((2, 3)))
        return logits


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("a_plugin")
    module.network, module.data = OtherNetwork, OtherData  # type: ignore[attr-defined]
    module.build = Trailing  # type: ignore[attr-defined]
    module.load = lambda source: planted_data(seed=source.seed, train_count=64, test_count=8)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_plugin", module)
    monkeypatch.setitem(NETWORKS._places, "trailing", "a_plugin:network")
    monkeypatch.setitem(DATA_SETS._places, "others", "a_plugin:data")


@pytest.mark.parametrize("data", [(), ("data={name='others', batch_size=16}",)], ids=["known data", "other data"])
def test_what_neither_recipe_nor_checkpoint_tells_the_data_tell(
    tmp_path: Path, tiny: Tiny, plugin: None, data: tuple[str, ...]
) -> None:
    train(tiny("network={name='trailing'}", *data), tmp_path / "run")
    fields = StoredReceptiveFields.open(tmp_path / "run")
    model = Trailing(2, 8, "acu", softmax=False)
    checkpoint = load_latest_checkpoint(RunDirectory.open(tmp_path / "run"))
    assert checkpoint is not None
    model.load_state_dict(checkpoint.model)
    assert list(active_layers(model)) == ["unit"]
    assert_same(fields.learned(snapshot(tmp_path / "run", -1)), receptive_field(model, (2, 17, 17)))


def test_refusals_are_one_sentence_and_advise_the_shapes(tmp_path: Path, tiny: Tiny, plugin: None, run: Path) -> None:
    with pytest.raises(UserError, match=r"positions\.bin holds positions alone, and a receptive field needs") as alone:
        StoredReceptiveFields.open(run / "positions.bin")
    train(tiny("network={name='trailing', options={softmax=true}}"), tmp_path / "run")
    with pytest.raises(UserError, match=r"computed: Trailing calls softmax, which weighs") as refused:
        StoredReceptiveFields.open(tmp_path / "run")
    for error in (alone, refused):
        assert [remedy.action for remedy in error.value.remedies] == [Action.DRAW_SHAPES]
    with pytest.raises(UserError, match="there is no run at"):
        StoredReceptiveFields.open(tmp_path / "none")


def test_positions_of_another_network_are_refused(run: Path) -> None:
    fields = StoredReceptiveFields.open(run)
    with pytest.raises(UserError, match=r"the network has no active layer conv1; it has unit"):
        fields.learned({"conv1": np.zeros((1, 9, 2), np.float32)})
    with pytest.raises(UserError, match=r"the positions of unit are \(1, 25, 2\), those of the network \(1, 9, 2\)"):
        fields.learned({"unit": np.zeros((1, 25, 2), np.float32)})
