"""The description in a state dict's metadata says the whole network, or there is none; nothing reads it as code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from acu_core.export.architecture import NotDescribable, describe_modules, describe_steps
from acu_core.export.state_dict_file import encode_state_dict, load_state_dict
from acu_core.nn.conversion import to_conv2d
from acu_core.nn.networks import build_network


class Branches(nn.Module):
    """Shortcuts as networks write them: sliced, padded, added in place, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=(1, 2), bias=False), nn.BatchNorm2d(4, eps=1e-3))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x), inplace=True)
        short = F.pad(x[:, :, ::2, 1::2], (0, 0, 0, 0, 2, 2))
        deep = torch.cat([x[:, :, ::2, 1::2], short.narrow(1, 0, 4)], dim=1)
        x = deep + short
        x += 0.5 * short
        pooled = torch.cat((self.pool(x).mean((2, 3)), x.amax(dim=(2, 3))[:, :4]), 1)
        logits: Tensor = self.out(self.drop(pooled))
        return logits


def described(network: nn.Module) -> dict[str, Any]:
    """The description as it stands in a file."""
    text = json.dumps({"modules": describe_modules(network), **describe_steps(network)})
    return dict(json.loads(text))


def test_a_branching_network_is_described() -> None:
    found = described(Branches())
    assert found["modules"]["stem.0"] == {
        "class": "torch.nn.Conv2d",
        "arguments": {
            "in_channels": 3,
            "out_channels": 4,
            "kernel_size": [3, 3],
            "stride": [1, 1],
            "padding": [1, 2],
            "dilation": [1, 1],
            "groups": 1,
            "bias": False,
            "padding_mode": "zeros",
        },
    }
    assert found["modules"]["stem.1"]["arguments"]["eps"] == 1e-3
    called = [step.get("module") or step.get("function") or step["method"] for step in found["steps"]]
    assert called[:4] == ["stem.0", "stem.1", "torch.nn.functional.relu", "operator.getitem"]
    assert called[-5:] == ["amax", "operator.getitem", "torch.cat", "drop", "out"]
    assert found["steps"][0]["arguments"] == [{"step": "images"}]
    nothing = {"slice": [None, None, None]}
    assert found["steps"][3]["arguments"] == [
        {"step": found["steps"][2]["name"]},
        {"tuple": [nothing, nothing, {"slice": [None, None, 2]}, {"slice": [1, None, 2]}]},
    ]
    # Every step uses what came before it, and the last one is the result.
    done = {"images"}
    for step in found["steps"]:
        assert steps_in([step["arguments"], step["named_arguments"]]) <= done
        done.add(step["name"])
    assert found["result"] == found["steps"][-1]["name"]


def steps_in(value: Any) -> set[str]:
    if isinstance(value, dict) and "step" in value:
        return {value["step"]}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(steps_in, inner))


@pytest.mark.parametrize(("name", "channels"), [("plain", 3), ("planted", 2), ("residual", 3)])
def test_the_networks_are_described(name: str, channels: int) -> None:
    network = to_conv2d(build_network(name, in_channels=channels, classes=7).eval())
    found = described(network)
    called = {step["module"] for step in found["steps"] if "module" in step}
    assert called == set(found["modules"])
    for layer, words in found["modules"].items():
        assert words["class"] == f"torch.nn.{type(network.get_submodule(layer)).__name__}"
    assert {key.rpartition(".")[0] for key in network.state_dict()} <= called


class Loop(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        while x.abs().max() > 1:
            x = super().forward(x)
        return x


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def shared() -> nn.Module:
    layer = nn.Conv2d(2, 2, 1)
    return nn.Sequential(layer, nn.ReLU(), layer)


def changed() -> nn.Module:
    layer = nn.Conv2d(2, 2, 1)
    # Its arguments still say 1x1.
    layer.weight = nn.Parameter(torch.rand(2, 2, 3, 3))
    return nn.Sequential(layer)


def hooked() -> nn.Module:
    layer = nn.Conv2d(2, 2, 1)
    layer.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    return nn.Sequential(layer)


OTHERS = {
    "loop": Loop(nn.Tanh(), nn.Conv2d(2, 2, 1)),
    "own": Scaled(),
    "shared": shared(),
    "changed": changed(),
    "hooked": hooked(),
}


@pytest.mark.parametrize("network", OTHERS.values(), ids=OTHERS)
def test_other_networks_leave_without_steps(network: nn.Module, tmp_path: Path) -> None:
    network.eval()
    with pytest.raises(NotDescribable):
        describe_steps(network)
    images = torch.rand(1, 2, 3, 3)
    file = tmp_path / "network.safetensors"
    file.write_bytes(encode_state_dict(network, images, {"modules": describe_modules(network)}))
    expected = network(images)
    loaded = load_state_dict(file, network)
    # What is loaded comes from the file alone.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(torch.nan)
    assert torch.equal(loaded(images), expected)


class Pickled:
    """Unpickled, it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def hostile(tmp_path: Path) -> dict[str, Any]:
    pickled, made = tmp_path / "pickle.pt", tmp_path / "made"
    torch.save(Pickled(made), pickled)
    arguments = {"arguments": [str(pickled)], "named_arguments": {"weights_only": False}}
    return {
        "modules": {
            "0": {"class": "torch.nn.Conv2d", "arguments": {"in_channels": 2, "out_channels": 3, "kernel_size": 1}},
            "1": {"class": "torch.nn.Module", "arguments": {}},
        },
        "steps": [
            {"name": "a", "function": "torch.load", **arguments},
            {"name": "b", "function": "os.mkdir", "arguments": [str(made)], "named_arguments": {}},
            {"name": "c", "method": "__reduce__", "arguments": [{"step": "images"}], "named_arguments": {}},
        ],
        "result": "c",
    }


@pytest.mark.parametrize("key", ["acu", "other"])
def test_what_a_description_names_is_never_called(tmp_path: Path, key: str) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 1)).eval()
    file = tmp_path / "network.safetensors"
    save_file(network.state_dict(), file, {key: json.dumps(hostile(tmp_path))})
    images = torch.rand(1, 2, 3, 3)
    assert torch.equal(load_state_dict(file, network)(images), network(images))
    assert not (tmp_path / "made").exists()
    # The trap is set: who did call it would be caught.
    torch.load(tmp_path / "pickle.pt", weights_only=False)
    assert (tmp_path / "made").exists()


def test_a_file_with_other_tensors_is_refused(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    state = network.state_dict()
    file = tmp_path / "network.safetensors"
    for wrong, message in (
        ({name: value for name, value in state.items() if name != "0.bias"}, r"Missing key.*0\.bias"),
        ({**state, "2.bias": torch.zeros(3)}, r"Unexpected key.*2\.bias"),
        ({**state, "0.weight": torch.zeros(3, 2, 3, 3)}, r"size mismatch for 0\.weight"),
    ):
        save_file(wrong, file, {"acu": "{}"})
        with pytest.raises(RuntimeError, match=message):
            load_state_dict(file, network)
