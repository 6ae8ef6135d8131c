"""The description in a state dict's metadata rebuilds the network, or there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acu_core.export.architecture import DescribedNetwork, NotDescribable, describe_modules, describe_steps
from acu_core.export.state_dict_file import encode_state_dict, load_state_dict
from acu_core.nn import build_network, to_conv2d


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


def rebuilt(network: nn.Module) -> DescribedNetwork:
    description = {"modules": describe_modules(network), **describe_steps(network)}
    other = DescribedNetwork(json.loads(json.dumps(description)))
    other.load_state_dict(network.state_dict())
    return other.eval()


def test_a_branching_network_is_rebuilt() -> None:
    network = Branches().eval()
    network.stem[1].running_var.uniform_(1, 2)  # type: ignore[union-attr, operator]
    images = torch.randn(3, 3, 11, 10)
    assert torch.equal(rebuilt(network)(images), network(images))


@pytest.mark.parametrize(("name", "channels", "size"), [("plain", 3, 16), ("planted", 2, 17), ("residual", 3, 16)])
def test_the_networks_are_rebuilt(name: str, channels: int, size: int) -> None:
    network = to_conv2d(build_network(name, in_channels=channels, classes=7).eval())
    images = torch.randn(2, channels, size, size)
    assert torch.equal(rebuilt(network)(images), network(images))


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


@pytest.mark.parametrize(
    "network", [Loop(nn.Tanh(), nn.Conv2d(2, 2, 1)), Scaled(), shared()], ids=["loop", "own", "shared"]
)
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


def test_a_description_calls_nothing_but_torch() -> None:
    step = {"name": "a", "function": "os.system", "arguments": ["true"], "named_arguments": {}}
    network = DescribedNetwork({"modules": {}, "steps": [step], "result": "a"})
    with pytest.raises(KeyError, match="os"):
        network(torch.zeros(1))
