from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import caffe_network
import numpy as np
import pytest
import torch
from caffe_network import Layer, made_up
from oracles import relative_error
from warned import Warned

from acu_core.caffe.import_run import import_caffe
from acu_core.caffe.plain_state import ROW_MAJOR
from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume
from acu_core.experiments.rounding import round_and_finetune
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.networks import build_network
from acu_core.recipe.recipe_file import load_recipe, parse_recipe
from acu_core.runs.checkpoints import load_checkpoint, load_latest_checkpoint
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

LATER = made_up(seed=2)
EARLIER = made_up(seed=1, spread=0.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files of one training, the later one first: a shell sorts 9000 behind 10000."""
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / "plain_iter_10000.caffemodel", folder / "plain_iter_9000.caffemodel"]
    for path, layers in zip(paths, (LATER, EARLIER), strict=True):
        path.write_bytes(caffe_network.encode(layers))
    return paths


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in the real layout: 10 classes, 32x32."""
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "cifar10.npz"
    arrays = {}
    for part, count in (("train", 80), ("test", 30)):
        arrays[f"{part}_images"] = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 10
    np.savez(path, **arrays)
    return path


@pytest.fixture
def run(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(import_caffe(files, tmp_path / "run").run)


def network(run: Path, iteration: int) -> torch.nn.Module:
    model = build_network("plain", in_channels=3, classes=10)
    model.load_state_dict(load_checkpoint(RunDirectory.open(run), iteration).model)
    return model.eval()


@pytest.mark.parametrize(("iteration", "layers"), [(10000, LATER), (9000, EARLIER)])
def test_the_network_computes_what_caffe_does(run: Path, iteration: int, layers: list[Layer]) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = network(run, iteration)(images)
    assert relative_error(found, caffe_network.logits(layers, images)) < 1e-4


def test_synapses_are_row_by_row(run: Path) -> None:
    grid = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    assert [caffe_network.CAFFE_GRID[k] for k in ROW_MAJOR] == grid
    for layer in active_layers(network(run, 9000)).values():
        assert layer.positions.tolist() == [[list(cell) for cell in grid]]


def test_each_file_is_a_snapshot_and_a_checkpoint(run: Path) -> None:
    directory = RunDirectory.open(run)
    snapshots = SnapshotFile(directory.positions)
    snapshots.verify()
    assert snapshots.iterations.tolist() == [9000, 10000]
    for number, iteration in enumerate((9000, 10000)):
        layers = active_layers(network(run, iteration))
        assert [entry.name for entry in snapshots.layers] == list(layers)
        for name, layer in layers.items():
            assert np.array_equal(snapshots.positions(name)[number], layer.positions.detach().numpy())
            norms = layer.weight.detach().flatten(0, 1).norm(dim=0).numpy()
            np.testing.assert_allclose(snapshots.weight_norms(name)[number], norms[None], rtol=1e-5)
    newest = load_latest_checkpoint(directory)
    assert newest is not None
    assert newest.iteration == 10000
    assert newest.model["norm0.num_batches_tracked"] == 10000
    assert not list(run.parent.glob(".*"))


def test_the_run_says_where_it_came_from(run: Path, files: list[Path]) -> None:
    directory = RunDirectory.open(run)
    imported = directory.environment["imported"]
    assert imported["network"] == "PlainC"
    assert imported["files"] == [
        {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "iteration": iteration}
        for iteration, path in ((9000, files[1]), (10000, files[0]))
    ]
    recipe = parse_recipe(directory.recipe_toml, "run")
    assert recipe.name == "cifar10-plain-acu-imported"
    assert "seed" in recipe.description
    assert files[0].name in recipe.description
    original = load_recipe("cifar10-plain-acu")
    assert recipe.optimizer == original.optimizer
    assert recipe.schedule == original.schedule


def test_it_is_evaluated_at_any_iteration_and_by_the_reference(run: Path, cifar10: Path) -> None:
    newest = evaluate_run(run, data_path=cifar10, device="cpu")
    assert (newest.iteration, newest.operator, newest.evaluation.images) == (10000, "compiled", 30)
    reference = evaluate_run(run, data_path=cifar10, device="cpu", reference=True)
    assert reference.operator == "reference"
    assert reference.evaluation.errors == newest.evaluation.errors
    # The same to float32's precision, and not by the same kernels.
    assert reference.evaluation.loss == pytest.approx(newest.evaluation.loss, rel=1e-4)
    earlier = evaluate_run(run, data_path=cifar10, device="cpu", iteration=9000)
    assert earlier.iteration == 9000
    assert earlier.evaluation.loss != pytest.approx(newest.evaluation.loss, rel=1e-2)
    with pytest.raises(UserError, match="no checkpoint of iteration 9500: it keeps 9000, 10000"):
        evaluate_run(run, data_path=cifar10, iteration=9500)


def test_it_is_trained_on_with_a_warning(run: Path, cifar10: Path, tmp_path: Path) -> None:
    events = Warned()
    overrides = ["schedule.iterations=10002", "schedule.divisions=[]", "schedule.checkpoint_every=1"]
    report = resume(run, overrides, data_path=cifar10, device="cpu", events=events)
    assert report.iteration == 10002
    assert RunDirectory.open(run).environment["imported"]["network"] == "PlainC"
    (warning,) = events.warnings
    assert "momentum starts at zero" in warning
    assert SnapshotFile(run / "positions.bin").iterations.tolist() == [9000, 10000, 10001, 10002]
    kept = sorted(int(path.stem) for path in RunDirectory.open(run).checkpoints.iterdir())
    assert kept == [9000, 10000, 10001, 10002]
    events = Warned()
    resume(run, ["schedule.iterations=10003"], data_path=cifar10, device="cpu", events=events)
    assert events.warnings == []
    with np.load(cifar10) as arrays:
        other = {name: array[::-1] if name == "train_images" else array for name, array in arrays.items()}
    np.savez(tmp_path / "other.npz", **other)
    resume(run, ["schedule.iterations=10004"], data_path=tmp_path / "other.npz", events=events)
    kept = sorted(int(path.stem) for path in RunDirectory.open(run).checkpoints.iterdir())
    assert kept == [9000, 10000, 10003, 10004]
    (warning,) = events.warnings
    assert "other conditions" in warning
    assert warning.endswith(": the data itself")


def test_looking_at_it_records_nothing(run: Path, cifar10: Path) -> None:
    before = RunDirectory.open(run).environment
    events = Warned()
    evaluate_run(run, data_path=cifar10, device="cpu", events=events)
    assert events.warnings == []
    assert RunDirectory.open(run).environment == before


def test_it_is_rounded_and_fine_tuned(run: Path, cifar10: Path, tmp_path: Path) -> None:
    report = round_and_finetune(run, tmp_path / "rounded", iterations=1, data_path=cifar10, device="cpu")
    assert report.rounding is not None
    assert report.rounding.before == evaluate_run(run, data_path=cifar10, device="cpu").evaluation
    assert report.rounding.parent_iteration == 10000


def test_the_run_has_the_next_free_number(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [import_caffe([files[0]]).run for _ in range(2)]
    assert names == ["runs/cifar10-plain-acu-imported-1", "runs/cifar10-plain-acu-imported-2"]


def test_iterations_beyond_the_recipe_and_without_a_name(files: list[Path], tmp_path: Path) -> None:
    imported = import_caffe(files, tmp_path / "run", iterations=[70_000, 1])
    assert imported.iterations == (1, 70_000)
    assert imported.files == (str(files[1]), str(files[0]))
    assert parse_recipe(RunDirectory.open(imported.run).recipe_toml, "run").schedule.iterations == 70_000


def test_what_is_refused_leaves_nothing(files: list[Path], tmp_path: Path) -> None:
    nameless = tmp_path / "plain.caffemodel"
    nameless.write_bytes(files[0].read_bytes())
    other = tmp_path / "other_iter_3.caffemodel"
    other.write_bytes(caffe_network.encode(made_up(classes=100)))
    renamed = tmp_path / "renamed_iter_3.caffemodel"
    renamed.write_bytes(caffe_network.encode(LATER, name="another"))
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("precious")
    before = sorted(tmp_path.iterdir())
    refused: list[tuple[list[Path], Path, list[int], str]] = [
        ([], tmp_path / "run", [], "nothing to import"),
        ([nameless], tmp_path / "run", [], "does not say its iteration"),
        (files, tmp_path / "run", [1], "1 iterations were given for 2 files"),
        (files, tmp_path / "run", [5, 5], "both of iteration 5"),
        (files[:1], tmp_path / "run", [0], "cannot be of iteration 0"),
        (files[:1], tmp_path / "run", [10**20], "cannot be of iteration"),
        ([files[0], other], tmp_path / "run", [], "are different networks"),
        ([files[0], renamed], tmp_path / "run", [], "are different networks"),
        (files, taken, [], "exists already"),
    ]
    for paths, out, iterations, message in refused:
        with pytest.raises(UserError, match=message):
            import_caffe(paths, out, iterations=iterations)
    assert sorted(tmp_path.iterdir()) == before
    assert (taken / "mine").read_text() == "precious"


def test_a_failure_while_writing_leaves_nothing(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("acu_core.caffe.import_run.save_checkpoint", full)
    with pytest.raises(UserError, match="No space left"):
        import_caffe(files, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_utf8_is_written_with_its_bytes(tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/x\xff_iter_7.caffemodel"
    try:
        Path(os.fsdecode(file)).write_bytes(caffe_network.encode(LATER))
    except OSError as error:
        pytest.skip(f"this file system refuses such names ({error})")
    imported = import_caffe([Path(os.fsdecode(file))], tmp_path / "run")
    name = r"x\xff_iter_7.caffemodel"
    assert imported.files == (str(tmp_path / name),)
    run = RunDirectory.open(tmp_path / "run")
    assert run.environment["imported"]["files"][0]["name"] == name
    assert name in parse_recipe(run.recipe_toml, "run").description


def test_a_place_that_cannot_be_is_named_as_the_user_did(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "run"
    with pytest.raises(UserError, match=rf"^the run directory {re.escape(str(out))} cannot be made: [A-Z]"):
        import_caffe(files, out)


def _replace(layers: list[Layer], index: int, **changes: object) -> list[Layer]:
    changed = Layer(**{**vars(layers[index]), **changes})  # type: ignore[arg-type]
    return [*layers[:index], changed, *layers[index + 1 :]]


def _changed_blob(layers: list[Layer], index: int, blob: int, value: float) -> list[Layer]:
    blobs = [values.copy() for values in layers[index].blobs]
    blobs[blob].flat[0] = value
    return _replace(layers, index, blobs=blobs)


def geometry(*fields: tuple[int, int]) -> bytes:
    return caffe_network.text(106, b"".join(caffe_network.number(*field) for field in fields))


TINY = made_up([2] * 8, classes=10)
OTHERS: dict[str, tuple[list[Layer], str]] = {
    "widths": (TINY, r"conv0.weight is \(2, 3, 1, 1\), not \(16, 3, 1, 1\)"),
    "classes": (made_up([2] * 8, classes=7), "3 channels and 7 classes"),
    "channels": (made_up([2] * 8, channels=1), "1 channels and 10 classes"),
    "another type": (_replace(TINY, 5, type="Deconvolution"), "'conv1' is of type 'Deconvolution', not AConvFast"),
    "an ordinary unit": (_replace(TINY, 5, type="Convolution"), "'conv1' is of type 'Convolution'"),
    "a layer missing": (TINY[:7] + TINY[8:], "'relu1' is of type 'ReLU', not Scale"),
    "the end missing": (TINY[:20], "ends where a ReLU layer should come"),
    "a layer more": ([*TINY, Layer("more", "ReLU", "score", "more")], "'more' comes after the end"),
    "a branch": (_replace(TINY, 9, bottom="top0"), "'conv2' does not read what the layer before it writes"),
    "stride": (_replace(TINY, 5, tables=geometry((2, 0), (3, 1), (4, 3), (6, 2))), r"has stride \[2\], not 1"),
    "padding": (_replace(TINY, 5, tables=geometry((2, 0), (4, 3), (6, 1))), r"has pad \[\], not 1"),
    "groups": (_replace(TINY, 5, tables=geometry((2, 0), (3, 1), (4, 3), (5, 2))), "has groups"),
    "bias term": (_replace(TINY, 5, tables=geometry((3, 1), (4, 3))), "has a bias"),
    "a bias": (_changed_blob(TINY, 5, 1, 0.5), "'conv1' has a bias"),
    "a moved 1x1 synapse": (_changed_blob(TINY, 1, 2, 0.5), "1x1 synapse that is not at the centre"),
    "positions missing": (_replace(TINY, 5, blobs=TINY[5].blobs[:2]), "has arrays with"),
    "eps": (_replace(TINY, 2, tables=caffe_network.text(139, b"\x1d" + np.float32(1e-3).tobytes())), "eps 1e-05"),
    "never trained": (_changed_blob(TINY, 2, 2, 0.0), "never trained"),
    "a negative variance": (_changed_blob(TINY, 2, 1, -1.0), "do not belong together"),
    "overflow": (_changed_blob(TINY, 2, 2, 1e-44), "is not finite"),
    "a slope": (_replace(TINY, 4, tables=caffe_network.text(123, b"\x0d" + np.float32(0.1).tobytes())), "slope"),
    "largest instead of average": (_replace(TINY, 33, tables=b""), "not the average"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_are_refused_by_the_layer(name: str, tmp_path: Path) -> None:
    layers, expected = OTHERS[name]
    path = tmp_path / "x_iter_1.caffemodel"
    path.write_bytes(caffe_network.encode(layers))
    with pytest.raises(UserError, match=expected) as raised:
        import_caffe([path], tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [path]
