"""Training and evaluating with images that cannot be read and are left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from image_data import make_image_folder
from typer.testing import CliRunner

from acu_cli.app import app
from acu_core.data.broken_images import BrokenImage
from acu_core.errors import Remedy, UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.recipe.recipe_file import parse_recipe, recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.json_lines import read_log
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.broken_image_log import BrokenImageLog
from acu_core.train.environment import load_recipe_data
from acu_core.train.events import NoEvents

Content = Callable[[Path], dict[str, object]]

RECIPE = """
name = "pictures"
machine = { device = "cpu", threads = 1, workers = 2 }
network = { name = "planted", unit = "acu", options = { width = 4 } }
optimizer = { learning_rate = 0.05, position_learning_rate_factor = 0.05 }
schedule = { iterations = 9, warm_up = 2, evaluate_every = 5, checkpoint_every = 4 }

[data]
name = "imagefolder"
batch_size = 6
evaluation_batch_size = 10
mirror = true
options = { crop = 17, resize = 20, skip_broken = true }
"""


class Told(NoEvents):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, *remedies: Remedy) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_image_folder(tmp_path_factory.mktemp("images"), each=3)
    for file in ("train/bridge/2.jpg", "train/tower/1.jpeg", "val/forest/0.PNG"):
        (root / file).write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def recipe(root: Path) -> Recipe:
    return parse_recipe(RECIPE, "the test").changed(data={"path": str(root)})


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    run, told = tmp_path_factory.mktemp("whole") / "run", Told()
    report = train(recipe, run, events=told)
    assert report.finished
    assert report.as_json()["broken_images"] == 3
    return run, told


def _logged(run: Path) -> list[dict[str, object]]:
    return read_log(RunDirectory.open(run).broken_images)


def test_each_is_warned_of_logged_and_counted(whole: tuple[Path, Told], root: Path) -> None:
    run, told = whole
    files = {str(root / file) for file in ("train/bridge/2.jpg", "train/tower/1.jpeg", "val/forest/0.PNG")}
    entries = _logged(run)
    assert {entry["file"] for entry in entries} == files
    assert len(entries) == len(told.warnings) == 3
    assert {entry["part"] for entry in entries} == {"train", "validation"}
    for entry in entries:
        assert any(str(entry["file"]) in text and str(entry["reason"]) in text for text in told.warnings)
    evaluations = [record for record in read_log(run / "metrics.jsonl") if "test_errors" in record]
    assert [record["test_images"] for record in evaluations] == [17, 17]


def test_interrupted_and_with_other_workers_it_has_the_same_bits(
    whole: tuple[Path, Told], recipe: Recipe, tmp_path: Path, content: Content
) -> None:
    train(recipe.changed(machine={"workers": 1}, schedule={"iterations": 5}), tmp_path / "run")
    before = _logged(tmp_path / "run")
    told = Told()
    report = resume(tmp_path / "run", ["schedule.iterations=9"], events=told)
    first, second = content(whole[0]), content(tmp_path / "run")
    # The evaluation that ended the shorter run is one of the longer as well.
    assert {**first, "recipe": None} == {**second, "recipe": None}
    assert report.broken_images == 3
    assert _logged(tmp_path / "run")[: len(before)] == before
    assert len(_logged(tmp_path / "run")) == 3, "each once, also after a resumption"
    assert told.warnings, "another process says it once more"


def test_a_run_can_go_on_without_its_broken_images(
    whole: tuple[Path, Told], recipe: Recipe, tmp_path: Path, content: Content
) -> None:
    strict = recipe.changed(data={"options": {"crop": 17, "resize": 20, "skip_broken": False}})
    with pytest.raises(UserError, match="cannot be read as an image"):
        train(strict, tmp_path / "never")
    assert not (tmp_path / "never").exists()
    # Images that break after the run has begun: those of the first iterations are good.
    other = make_image_folder(tmp_path / "images", each=3)
    good = strict.changed(data={"path": str(other)}, schedule={"iterations": 1})
    train(good, tmp_path / "run")
    assert not RunDirectory.open(tmp_path / "run").broken_images.exists()
    kept = {file: file.read_bytes() for file in (other / "train").rglob("*.jpg")}
    for file, data in kept.items():
        file.write_bytes(b"x" * len(data))
    with pytest.raises(UserError, match="iteration 1 is saved") as caught:
        resume(tmp_path / "run", ["schedule.iterations=9"])
    assert [remedy.action.name for remedy in caught.value.remedies] == ["RESUME", "SKIP_BROKEN"]
    report = resume(tmp_path / "run", ["schedule.iterations=9", "data.options.skip_broken=true"])
    assert (report.iteration, report.finished) == (9, True)
    assert 0 < report.broken_images <= len(kept)


def test_a_twin_names_them_too(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe.changed(compare_frozen=True, schedule={"iterations": 5}), tmp_path / "run")
    named = [{str(entry["file"]) for entry in _logged(run)} for run in (tmp_path / "run", tmp_path / "run/frozen")]
    assert named[0] == named[1] != set()


def test_a_damaged_log_does_not_stop_a_training(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe.changed(schedule={"iterations": 5}), tmp_path / "run")
    log = RunDirectory.open(tmp_path / "run").broken_images
    log.write_bytes(b'{"file": 1}\n{"cut": ')
    assert resume(tmp_path / "run", ["schedule.iterations=9"]).finished


def test_what_several_processes_find_is_written_by_one_and_told_to_all(
    whole: tuple[Path, Told], recipe: Recipe, tmp_path: Path
) -> None:
    run = RunDirectory.create(tmp_path / "run", recipe_toml(recipe), {})
    images = [BrokenImage(f"/{number}.jpg", "damaged", "train") for number in range(3)]
    sets = [load_recipe_data(recipe, None, False) for _ in range(2)]
    logs = [BrokenImageLog(run, data) for data in sets]
    told: list[str] = []
    for data, found in zip(sets, (images[:2], images[1:]), strict=True):
        assert data.broken_images is not None
        for image in found:
            data.broken_images.add(image)
        data.broken_images.listen(lambda image: told.append(image.name))
    for _ in range(2):
        lists = [list(data.broken_images.found.values()) if not told else [] for data in sets]
        logs[0].update(5, lambda _, lists=lists: lists)
        logs[1].update(5, lambda _, lists=lists: lists, writes=False)
    assert told == ["/2.jpg", "/0.jpg"], "each what the other has found"
    assert [entry["file"] for entry in read_log(run.broken_images)] == ["/0.jpg", "/1.jpg", "/2.jpg"]


def test_an_evaluation_says_what_it_did_not_count(whole: tuple[Path, Told]) -> None:
    told = Told()
    result = evaluate_run(whole[0], events=told)
    assert (result.broken_images, result.evaluation.images) == (1, 17)
    assert "val/forest/0.PNG" in told.warnings[0]
    assert "not among the validation images" in told.warnings[0]


def test_the_commands_say_it(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(recipe_toml(recipe))
    run = tmp_path / "run"
    trained = CliRunner().invoke(app, ["train", str(tmp_path / "recipe.toml"), "--out", str(run)])
    assert trained.exit_code == 0, trained.output
    assert "3 files that cannot be read, named in broken_images.jsonl" in trained.output
    evaluated = CliRunner().invoke(app, ["evaluate", str(run), "--json"])
    assert json.loads(evaluated.stdout)["broken_images"] == 1
    assert "they cannot be read: 1 validation images" in CliRunner().invoke(app, ["evaluate", str(run)]).stdout
    shutil.rmtree(run)
    refused = CliRunner().invoke(
        app,
        ["train", str(tmp_path / "recipe.toml"), "--out", str(run), "--set", "data.options.skip_broken=false"],
    )
    assert refused.exit_code != 0
