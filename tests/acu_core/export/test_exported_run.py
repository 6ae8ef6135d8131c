from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from acu_core.errors import UserError
from acu_core.export import formats, onnx_file
from acu_core.export.exported_run import export_run
from acu_core.export.form_request import FormRequest
from acu_core.export.formats import FORMATS
from acu_core.nn.networks import build_network
from acu_core.runs.checkpoints import load_checkpoint, save_checkpoint
from acu_core.runs.run_directory import RunDirectory

SUFFIXES = sorted(FORMATS)
# Nothing is measured so.
export_dense = partial(export_run, forms=FormRequest("dense"))
BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("acu_core", "acu_cli"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
try:
    import acu_core
except ImportError:
    pass
else:
    raise SystemExit("acu_core can be imported")
import json
import torch
images, expected = torch.load(sys.argv[2], weights_only=True)
"""
COMPARE = """
for count in (1, 3, len(images)):
    difference = (network(images[:count]) - expected[:count]).abs().max()
    assert difference <= 1e-4, float(difference)
"""
READERS = {
    ".pt2": "network = torch.export.load(sys.argv[1]).module()\n",
    ".onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
network = lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
""",
    # What a user would write who knows the network and reads the kernels' sizes from the metadata.
    ".safetensors": """
from safetensors import safe_open
from safetensors.torch import load_file
with safe_open(sys.argv[1], "pt") as file:
    layers = json.loads(file.metadata()["acu"])["modules"]

class Planted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        crop = torch.nn.ZeroPad2d(**layers["unit.0"]["arguments"])
        self.unit = torch.nn.Sequential(crop, torch.nn.Conv2d(**layers["unit.1"]["arguments"]))
        self.norm = torch.nn.BatchNorm2d(**layers["norm"]["arguments"])
        self.classifier = torch.nn.Conv2d(**layers["classifier"]["arguments"])

    def forward(self, images):
        return self.classifier(torch.relu(self.norm(self.unit(images)))).flatten(1)

network = Planted().eval()
network.load_state_dict(load_file(sys.argv[1]))
""",
}


def network_of(run: Path, iteration: int = 20) -> nn.Module:
    model = build_network("planted", in_channels=2, classes=8)
    model.load_state_dict(load_checkpoint(RunDirectory.open(run), iteration).model)
    return model.eval()


def description_of(file: Path) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        with safe_open(file, "pt") as opened:
            text = opened.metadata()["acu"]
    elif file.suffix == ".onnx":
        text = {entry.key: entry.value for entry in onnx.load(file).metadata_props}["acu"]
    else:
        extra = {"acu.json": ""}
        torch.export.load(file, extra_files=extra)
        text = extra["acu.json"]
    described: dict[str, Any] = json.loads(text)
    return described


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_file_is_the_network_and_needs_nothing_of_ours(run: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"network{suffix}"
    report = export_dense(run, file)
    assert (report.written, report.path, report.iteration, report.bytes) == (True, file, 20, file.stat().st_size)
    assert report.comparison is not None
    assert report.comparison.images == 60
    assert report.comparison.errors == report.comparison.exported_errors
    assert report.comparison.largest_difference <= 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name], "one file, and nothing beside it"

    model = network_of(run)
    images = torch.randn(7, 2, 17, 17)
    with torch.no_grad():
        torch.save((images, model(images)), tmp_path / "expected.pt")
    program = BLOCKED + READERS[suffix] + "with torch.no_grad():\n    " + COMPARE.replace("\n", "\n    ")
    subprocess.run([sys.executable, "-c", program, str(file), str(tmp_path / "expected.pt")], check=True, cwd="/")


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_shifts_need_nothing_of_ours(run: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"network{suffix}"
    report = export_run(run, file, forms=FormRequest("shifts"))
    assert report.written
    assert description_of(file)["forms"] == {"unit": "shifts"}
    model = network_of(run)
    images = torch.randn(7, 2, 17, 17)
    with torch.no_grad():
        torch.save((images, model(images)), tmp_path / "expected.pt")
    program = BLOCKED + READERS[suffix] + "with torch.no_grad():\n    " + COMPARE.replace("\n", "\n    ")
    subprocess.run([sys.executable, "-c", program, str(file), str(tmp_path / "expected.pt")], check=True, cwd="/")


def test_shifts_in_a_state_dict_are_described_step_by_step(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "network.safetensors"
    assert export_run(run, file, forms=FormRequest("shifts")).written
    described = description_of(file)
    called = [step["module"] for step in described["steps"] if "module" in step]
    assert [name for name in called if name.startswith("unit.products.")]
    assert {"torch": "channels_last"} in [step["named_arguments"].get("memory_format") for step in described["steps"]]


def test_custom_is_read_beside_acu(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "network.pt2"
    report = export_run(run, file, forms=FormRequest.of(["custom"]))
    assert report.written
    assert report.forms.chosen == {"unit": "custom"}
    images = torch.randn(5, 2, 17, 17)
    with torch.no_grad():
        torch.save((images, network_of(run)(images)), tmp_path / "expected.pt")
    reading = "import json, sys, torch\nfrom acu_core import active_conv2d\n"
    reading += "images, expected = torch.load(sys.argv[2], weights_only=True)\n"
    program = reading + READERS[".pt2"] + "with torch.no_grad():\n    " + COMPARE.replace("\n", "\n    ")
    subprocess.run([sys.executable, "-c", program, str(file), str(tmp_path / "expected.pt")], check=True)
    for suffix in (".onnx", ".safetensors"):
        with pytest.raises(
            UserError, match="the form custom does not fit this format, which can hold dense and shifts"
        ):
            export_run(run, tmp_path / f"network{suffix}", forms=FormRequest("custom"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_fastest_form_is_measured_beside_ordinary_convolutions(run: Path, tmp_path: Path, suffix: str) -> None:
    report = export_run(run, tmp_path / f"network{suffix}", batch=2)
    assert report.written
    choice = report.forms
    assert choice.batch == 2
    assert choice.chosen["unit"] in ("dense", "shifts"), "custom would need acu"
    (entry,) = choice.layers
    assert set(entry.forms) == set(FORMATS[suffix].forms)
    networks = {one.network: one for one in choice.networks}
    assert list(networks) == ["ordinary", *FORMATS[suffix].forms, "exported"]
    assert all(one.seconds is not None and one.seconds > 0 for one in choice.networks)
    # 3x3 weights for every pair of channels, and the same for all that is no unit.
    assert entry.ordinary.costs.parameters == 9 * 2 * network_of(run).get_submodule("unit").out_channels
    assert networks["dense"].costs.operations > networks["ordinary"].costs.operations


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_run_gives_the_same_file_and_tells_nothing_of_the_machine(
    run: Path, tmp_path: Path, suffix: str
) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    export_dense(run, first, check=False)
    export_dense(run, second, check=False)
    content = first.read_bytes()
    assert content == second.read_bytes()
    for word in (b"acu_core", str(Path(__file__).parents[3]).encode(), str(run).encode()):
        assert word not in content, word


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_file_describes_itself(run: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"network{suffix}"
    report = export_dense(run, file, iteration=10, check=False)
    assert report.comparison is None
    described = description_of(file)
    assert described["iteration"] == 10
    assert described["input"]["shape"] == ["batch", 2, 17, 17]
    assert described["input"]["preprocessing"].startswith("not part of this network")
    assert described["output"]["shape"] == ["batch", len(described["output"]["classes"])]
    assert described["forms"] == {"unit": "dense"}
    crop, unit = described["modules"]["unit.0"], described["modules"]["unit.1"]
    assert crop["class"] == "torch.nn.ZeroPad2d"
    assert max(crop["arguments"]["padding"]) < 0, "the image is cropped to what the kernel reads"
    assert unit["class"] == "torch.nn.Conv2d"
    assert unit["arguments"]["padding"] == [0, 0]
    assert {"kernel_size", "stride", "dilation", "groups", "bias"} <= set(unit["arguments"])


def test_an_onnx_file_holds_standard_operators_only(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "network.onnx"
    assert export_dense(run, file, check=False).opset == onnx_file.OPSET
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", onnx_file.OPSET)]
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    for tensor in (*model.graph.input, *model.graph.output):
        assert tensor.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_an_iteration_is_exported_as_it_was(run: Path, tmp_path: Path) -> None:
    for iteration in (10, 20):
        export_dense(run, tmp_path / f"{iteration}.safetensors", iteration=iteration, check=False)
        state = load_file(tmp_path / f"{iteration}.safetensors")
        assert torch.equal(state["norm.running_mean"], network_of(run, iteration).state_dict()["norm.running_mean"])
    with pytest.raises(UserError, match="no checkpoint of iteration 11: it keeps 10, 20"):
        export_dense(run, tmp_path / "11.safetensors", iteration=11)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fault", ["large", "nan"])
def test_a_file_that_differs_never_takes_its_place(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, fault: str
) -> None:
    chosen = FORMATS[suffix]

    def damaged(network: nn.Module, images: Tensor, description: Mapping[str, Any]) -> bytes:
        with torch.no_grad():
            bias = network.get_parameter("classifier.bias")
            bias[1] = bias[1] + 2e-4 if fault == "large" else torch.nan
        return chosen.encode(network, images, description)

    monkeypatch.setattr(formats, "FORMATS", {**FORMATS, suffix: replace(chosen, encode=damaged)})
    file = tmp_path / f"network{suffix}"
    file.write_bytes(b"old")
    report = export_dense(run, file)
    assert not report.written
    assert report.comparison is not None
    assert not report.comparison.largest_difference <= 1e-4
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
    assert export_dense(run, file, check=False).written
    assert file.read_bytes() != b"old"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failing_export_leaves_the_old_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def failing(path: Path, network: nn.Module) -> nn.Module:
        raise KeyboardInterrupt

    monkeypatch.setattr(formats, "FORMATS", {**FORMATS, suffix: replace(FORMATS[suffix], load=failing)})
    file = tmp_path / f"network{suffix}"
    file.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        export_dense(run, file)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("network", r"does not say its format: let its name end with \.safetensors, \.pt2, \.onnx"),
        ("network.pth", "does not say its format"),
        ("missing/network.pt2", "cannot be written: .*missing: No such file or directory"),
        ("file/network.pt2", "cannot be written: .*file: Not a directory"),
        ("folder.onnx", "is a directory: give the name of a file"),
    ],
)
def test_a_place_that_cannot_be_written(run: Path, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UserError, match=message):
        export_dense(run, tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 2


def test_without_the_extra(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(UserError, match=r"needs onnxruntime, which is not installed: pip install .*\[onnx\]"):
        export_dense(run, tmp_path / "network.onnx")
    assert export_dense(run, tmp_path / "network.pt2", check=False).written


def _save_moved(run: Path, copied: Path, place: list[float]) -> None:
    """A checkpoint of iteration 21 in `copied`: that of iteration 20 with a synapse at `place`."""
    found = load_checkpoint(RunDirectory.open(run), 20)
    model = {name: tensor.clone() for name, tensor in found.model.items()}
    model["unit.positions"][0, 2] = torch.tensor(place)
    save_checkpoint(
        RunDirectory.open(copied), 21, model=model, optimizer=found.optimizer, log_lengths=found.log_lengths
    )


def test_runs_that_cannot_be_exported(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run at"):
        export_dense(tmp_path / "nowhere", tmp_path / "network.pt2")
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    for checkpoint in (copied / "checkpoints").iterdir():
        checkpoint.unlink()
    with pytest.raises(UserError, match="has no checkpoint yet"):
        export_dense(copied, tmp_path / "network.pt2")

    _save_moved(run, copied, [0.5, 1e6])
    with pytest.raises(UserError, match=r"layer unit: .* too far out, at \(y, x\) = \(0.5, 1e\+06\)"):
        export_dense(copied, tmp_path / "network.pt2")
    assert not (tmp_path / "network.pt2").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_synapse_beyond_the_image_reads_nothing_in_the_file_too(run: Path, tmp_path: Path, suffix: str) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    _save_moved(run, copied, [-30.25, 21.5])
    report = export_dense(copied, tmp_path / f"network{suffix}")
    assert report.written
    assert report.iteration == 21
