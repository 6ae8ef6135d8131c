"""What the README and the pages of docs/ print is what there is."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch import nn

import acu_core
from acu_core import ActiveConv2d, ShapeRecorder, read_shapes
from acu_core.experiments.frozen_twin import train
from acu_core.recipe import registry
from acu_core.recipe.known_keys import choice
from acu_core.recipe.schema import Recipe
from acu_core.recipe.table import Table
from acu_core.runs.shapes import Shapes

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code in a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("README.md", "python")
    names: dict[str, object] = {}
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), names)
    plain, model = names["plain"], names["model"]
    assert isinstance(plain, nn.Module)
    assert isinstance(model, nn.Module)
    assert {type(module) for module in plain} == {nn.Conv2d, nn.ReLU}  # type: ignore[union-attr]
    image = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(plain(image), model(image), rtol=1e-4, atol=1e-5)
    assert read_shapes("shapes.bin").iterations.tolist() == list(range(1, 11))


def test_its_shapes_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"model": nn.Sequential(ActiveConv2d(1, 2, 3))}
    exec(compile(blocks("docs/layer.md", "python")[0], "layer.md", "exec"), names)
    recorded = names["recorded"]
    assert isinstance(recorded, Shapes)
    assert recorded.iterations.tolist() == list(range(1, 101))


class Network(nn.Sequential):
    """What a Trainer of Hugging Face and one of Lightning's steps take."""

    def __init__(self) -> None:
        super().__init__(ActiveConv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self(images), labels)


def callbacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **modules: object) -> dict[str, Any]:
    """The callbacks of docs/layer.md, in a directory where they may write; a module not given has empty bases."""
    monkeypatch.chdir(tmp_path)
    stand_ins = {
        "lightning": SimpleNamespace(Callback=object),
        "transformers": SimpleNamespace(TrainerCallback=object),
    }
    names: dict[str, Any] = {"ShapeRecorder": ShapeRecorder, **stand_ins, **modules}
    exec(compile(blocks("docs/layer.md", "python")[1], "layer.md", "exec"), names)
    return names


def test_the_callbacks_in_the_order_in_which_they_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = callbacks(monkeypatch, tmp_path)
    lightning, network = names["RecordShapes"](), Network()
    # Two batches a step, and a second training that goes on after step 2.
    for first, last in ((0, 4), (2, 5)):
        trainer = SimpleNamespace(global_step=first)
        lightning.on_train_start(trainer, network)
        for batch in range(2 * (last - first)):
            trainer.global_step = first + (batch + 1) // 2
            lightning.on_train_batch_end(trainer, network, None, None, batch)
        lightning.on_train_end(trainer, network)
        assert read_shapes("shapes.bin").iterations[-1] == last
    assert read_shapes("shapes.bin").iterations.tolist() == [0, 1, 2, 3, 4, 5]
    Path("shapes.bin").unlink()
    transformers = names["RecordTrainerShapes"]()
    for first, last in ((0, 4), (2, 5)):
        state = SimpleNamespace(global_step=first)
        transformers.on_train_begin(None, state, None, model=network, optimizer=None)
        for step in range(first, last):
            state.global_step = step + 1
            transformers.on_step_end(None, state, None, model=network)
        transformers.on_train_end(None, state, None, model=network)
    assert read_shapes("shapes.bin").iterations.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.filterwarnings("ignore")
def test_lightning_calls_the_callback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")
    names = callbacks(monkeypatch, tmp_path, lightning=lightning)

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = Network()

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return self.network.loss(*batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    batches = [(torch.randn(4, 1, 5, 5), torch.arange(4))] * 8
    lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        accumulate_grad_batches=2,
        callbacks=[names["RecordShapes"]()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Module(), torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    assert read_shapes("shapes.bin").iterations.tolist() == [0, 1, 2, 3, 4]
    assert list(read_shapes("shapes.bin").layers) == ["network.0"]


@pytest.mark.filterwarnings("ignore")
def test_hugging_faces_trainer_calls_the_callback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    names = callbacks(monkeypatch, tmp_path, transformers=transformers)

    class Labelled(Network):
        def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> Any:  # type: ignore[override]
            logits = super().forward(images)
            return logits if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}

    arguments = transformers.TrainingArguments(
        "out",
        num_train_epochs=1,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    data = [{"images": torch.randn(1, 5, 5), "labels": torch.tensor(label % 4)} for label in range(16)]
    callback = names["RecordTrainerShapes"]()
    transformers.Trainer(Labelled(), arguments, train_dataset=data, callbacks=[callback]).train()
    assert read_shapes("shapes.bin").iterations.tolist() == [1, 2, 3, 4]
    assert list(read_shapes("shapes.bin").layers) == ["0"]


def test_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Recipe]) -> None:
    network, registration = blocks("docs/networks.md", "python")
    (tmp_path / "my_network.py").write_text(network)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry.NETWORKS, "_places", dict(registry.NETWORKS._places))
    exec(compile(registration, "networks.md", "exec"), {})
    recipe = tiny("network.name=mine", "network.options={width=4}", "schedule.iterations=4")
    report = train(recipe, tmp_path / "run")
    assert report.finished
    assert report.active_layers == 1


def test_every_command_is_in_the_readme() -> None:
    from typer.main import get_command

    from acu_cli.app import app

    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"`acu {name}" in README, name


def test_the_formats_page_reads_a_file_with_numpy_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = nn.Sequential(ActiveConv2d(1, 2, 3), ActiveConv2d(2, 2, 5, position_groups=2))
    with ShapeRecorder(model, "positions.bin") as recorder:
        for iteration in (3, 7):
            recorder.record(iteration)
    names: dict[str, Any] = {}
    (code,) = blocks("docs/formats.md", "python")
    exec(compile(code, "formats.md", "exec"), names)
    records, shapes = names["records"], read_shapes("positions.bin")
    assert records["iteration"].tolist() == [3, 7]
    for number, layer in enumerate(shapes.layers.values()):
        assert (records[f"positions{number}"] == layer.positions).all()
        assert (records[f"norms{number}"] == layer.weight_norms).all()


def test_the_pictures_page_computes_a_receptive_field(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("docs/pictures.md", "python")
    exec(compile(code, "pictures.md", "exec"), {})
    assert float(capsys.readouterr().out.split()[-1]) == pytest.approx(1)


def test_every_public_name_is_on_its_page() -> None:
    page = (ROOT / "docs/api.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == acu_core.__all__


def keys(model: type[Table], before: str = "") -> set[str]:
    """The keys of a recipe, by table and name; of a table that a name chooses, those of every class."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        chosen = choice(field)
        classes = [kind for kind in get_args(field.annotation) or (field.annotation,) if isinstance(kind, type)]
        classes += [chosen.table({"name": each}) for each in chosen.registry] if chosen is not None else []
        tables = [kind for kind in classes if issubclass(kind, Table)]
        # The options of each network and data set stand on its own page.
        inner = set().union(*(keys(kind, f"{before}{name}.") for kind in tables)) if name != "options" else set()
        found |= inner or {before + name}
    return found


def test_every_key_of_a_recipe_is_on_its_page() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/recipes.md").read_text(), re.MULTILINE)
    told: set[str] = set()
    for row in rows:
        names = re.findall(r"`([\w.]+)`", row)
        table = names[0].rpartition(".")[0]
        told |= {table + name if name.startswith(".") else name for name in names}
    assert told == keys(Recipe)


def commands() -> list[tuple[str, str]]:
    """Every `acu` command of a block of shell, with its page."""
    found = []
    for page in PAGES:
        for block in blocks(str(page.relative_to(ROOT)), "sh"):
            lines = [line.split("  #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
            found += [(page.name, part) for line in lines for part in line.split(" && ") if part.startswith("acu ")]
    assert len(found) > 10
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_printed_command_is_one_that_there_is(page: str, line: str) -> None:
    from typer.main import get_command

    from acu_cli.app import app

    command, words = get_command(app), shlex.split(line)[1:]
    # Down to the last command; its options and arguments are read as when it runs, and it is not run.
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    command.make_context(line, list(words))


def links() -> list[tuple[str, str]]:
    """Every link within the repository, with its page."""
    found = {
        (str(p.relative_to(ROOT)), link)
        for p in [*PAGES, ROOT / "CONTRIBUTING.md"]
        for link in re.findall(r'(?:\]\(|src="|srcset=")([^)"]+)[)"]', p.read_text())
    }
    return sorted(found)


@pytest.mark.parametrize(("page", "link"), links())
def test_links_lead_somewhere(page: str, link: str) -> None:
    file, _, section = link.partition("#")
    target = (ROOT / page).parent / file if file else ROOT / page
    assert target.exists(), link
    if section:
        titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        # As GitHub makes them.
        assert section in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link


def test_the_readme_is_for_five_minutes() -> None:
    assert len(README.splitlines()) <= 150


def test_a_log_goes_to_weights_and_biases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Recipe]
) -> None:
    train(tiny("schedule.iterations=4", "schedule.evaluate_every=2"), tmp_path / "runs" / "planted-1")
    monkeypatch.chdir(tmp_path)
    logged: dict[int, dict[str, float]] = {}

    class StandIn:
        """Of `wandb.Run`, where a step's values come together."""

        def __enter__(self) -> StandIn:
            return self

        def __exit__(self, *_: object) -> None: ...

        def log(self, values: dict[str, float], step: int) -> None:
            assert step >= max(logged, default=0)
            logged.setdefault(step, {}).update(values)

    wandb = ModuleType("wandb")
    monkeypatch.setattr(wandb, "init", lambda **_: StandIn(), raising=False)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (code,) = blocks("docs/comparing.md", "python")
    exec(compile(code, "comparing.md", "exec"), {})
    assert list(logged) == [1, 2, 3, 4]
    assert {"loss", "accuracy", "learning_rate", "test_errors"} <= logged[4].keys()
    assert "crc32" not in logged[4]
