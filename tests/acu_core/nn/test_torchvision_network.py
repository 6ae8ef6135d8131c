from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import relative_error
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from acu_core.errors import UserError
from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.conversion import to_conv2d
from acu_core.nn.networks import build_network
from acu_core.nn.torchvision_network import SIDE_CLASSIFIERS, torchvision_network
from acu_core.recipe.networks.torchvision import torchvision_models


def made(name: str = "resnet18", classes: int = 1000, **options: Any) -> nn.Module:
    torch.manual_seed(5)
    return build_network(f"torchvision:{name}", in_channels=3, classes=classes, **options).eval()


@pytest.fixture(scope="module")
def stored() -> models.ResNet:
    """A resnet18 whose every tensor differs from what a new one has."""
    torch.manual_seed(1)
    model = models.resnet18()
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01 * torch.rand_like(value))
    return model.eval()


@pytest.fixture(scope="module")
def weights(stored: models.ResNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(stored.state_dict(), path)
    return path


def test_stored_weights_are_kept_exactly(stored: models.ResNet, weights: Path) -> None:
    model = made(weights=str(weights))
    layers = active_layers(model)
    large = [name for name, m in stored.named_modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert list(layers) == large
    assert len(large) == 17
    state = model.state_dict()
    for name, value in stored.state_dict().items():
        assert torch.equal(state[name].reshape(value.shape), value), name
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = stored(images)
        assert relative_error(model(images), logits) < 1e-5
        assert torch.equal(made(weights=str(weights), unit="convolution")(images), logits)
        for layer in layers.values():
            layer.positions += 0.2 * torch.randn_like(layer.positions)
        assert relative_error(to_conv2d(model)(images), model(images)) < 1e-5


def test_for_other_classes_only_the_last_layer_is_new(stored: models.ResNet, weights: Path, tmp_path: Path) -> None:
    safe = tmp_path / "resnet18.safetensors"
    save_file(stored.state_dict(), safe)
    for path in (weights, safe):
        state = made(classes=7, weights=str(path)).state_dict()
        other = [k for k, v in stored.state_dict().items() if not torch.equal(state[k].reshape(-1), v.reshape(-1))]
        assert other == ["fc.weight", "fc.bias"]
        assert state["fc.weight"].shape == (7, 512)


def test_a_model_whose_state_comes_later_needs_no_weights(weights: Path) -> None:
    ready = made(weights=str(weights), classes=7)
    later = made(weights="gone.pth", classes=7, pretrained=False)
    later.load_state_dict(ready.state_dict())
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(later(image), ready(image))


def test_published_weights(stored: models.ResNet, monkeypatch: pytest.MonkeyPatch) -> None:
    state = stored.state_dict()
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", lambda self, **_: state)
    model = made(weights="IMAGENET1K_V1")
    assert torch.equal(model.state_dict()["fc.weight"], stored.fc.weight)

    def unreachable(self: Any, **_: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", unreachable)
    with pytest.raises(UserError, match=r"could not be downloaded from https://.*no route to host.*give their path"):
        made(weights="DEFAULT")


def test_the_rule_of_the_recipe() -> None:
    names = list(active_layers(made("alexnet", classes=3)))
    assert names == [f"features.{place}" for place in (0, 3, 6, 8, 10)]
    assert list(active_layers(made("alexnet", classes=3, smallest_kernel=5))) == names[:2]
    assert list(active_layers(made("alexnet", classes=3, except_layers="features.0, features.1*"))) == names[1:4]
    # A depthwise convolution keeps its groups.
    model = made("mobilenet_v3_small", classes=3)
    assert {layer.groups > 1 for layer in active_layers(model).values()} == {True, False}
    base = made("mobilenet_v3_small", classes=3, unit="convolution")
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert relative_error(model(image), base(image)) < 1e-5


def test_models_that_compute_their_widths() -> None:
    # torchvision's regnets read values while they are built, so PyTorch's meta device cannot build them; the CPU can.
    model = made("regnet_y_400mf", classes=3)
    assert len(active_layers(model)) == 17
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize("name", SIDE_CLASSIFIERS)
def test_models_with_side_classifiers_have_one_output(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        whole = models.get_model(name, num_classes=4, init_weights=False, aux_logits=True)
    path = tmp_path / f"{name}.pth"
    torch.save({key: torch.full_like(v, 0.01, device="cpu") for key, v in whole.state_dict().items()}, path)
    model = made(name, classes=4, weights=str(path), except_layers="*b*")
    assert not [key for key in model.state_dict() if key.lower().startswith("aux")]
    assert (model.state_dict()["fc.weight"] == 0.01).all()
    # As torchvision does for its own weights, which were trained on images normalised otherwise.
    assert isinstance(model, models.GoogLeNet | models.Inception3)
    assert model.transform_input


def test_the_early_names_of_densenet(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = models.densenet121(num_classes=4).state_dict()
    early = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): v for key, v in state.items()}
    assert set(early) != set(state)
    path = tmp_path / "densenet.pth"
    torch.save(early, path)
    assert torch.equal(
        made("densenet121", classes=4, weights=str(path), unit="convolution").state_dict()[
            "features.denseblock1.denselayer1.conv1.weight"
        ],
        state["features.denseblock1.denselayer1.conv1.weight"],
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, r"torchvision has no classification model 'resnet19'; did you mean resnet\d+"),
        ("zzz", {}, "torchvision has no classification model 'zzz'; there are alexnet, "),
        (
            "resnet18",
            {"kernel": 3},
            "options.kernel: unknown key; there are weights, smallest_kernel, except_layers$",
        ),
        ("resnet18", {"weights": 3}, "options.weights: should be a valid string, got 3"),
        ("resnet18", {"weights": "V9"}, "'V9' is neither a file nor .* for resnet18: IMAGENET1K_V1, DEFAULT"),
        ("resnet18", {"smallest_kernel": 1}, "options.smallest_kernel: should be greater than or equal to 2, got 1"),
        ("resnet18", {"smallest_kernel": 9}, "no convolution of resnet18 is 9x9 or larger and not in except_layers"),
        ("resnet18", {"except_layers": "*"}, "none would become active"),
        (
            "resnet18",
            {"except_layers": "conv1,convolution2"},
            "the pattern 'convolution2' in except_layers matches no convolution of resnet18 .* these would: conv1, ",
        ),
        ("resnet18", {"unit": "dense"}, "unit: should be 'acu' or 'convolution', got 'dense'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        made(name, **options)
    assert "\n" not in str(raised.value)


def test_the_names_are_torchvisions_own() -> None:
    # Read off its files, because a recipe is checked without importing it.
    assert list(torchvision_models()) == models.list_models(module=models)


def test_an_unknown_model_is_named_before_its_channels() -> None:
    with pytest.raises(ValueError, match="no classification model 'nosuchnet'"):
        build_network("torchvision:nosuchnet", in_channels=2, classes=3)
    with pytest.raises(ValueError, match="no classification model 'fcn_resnet50'"):
        torchvision_network("fcn_resnet50", 2, 3, "acu")
    with pytest.raises(ValueError, match="smallest_kernel must be at least 2"):
        torchvision_network("resnet18", 3, 3, "acu", smallest_kernel=1)


def test_images_of_other_channels() -> None:
    with pytest.raises(ValueError, match="torchvision's resnet18 takes images of 3 channels, not of 2"):
        build_network("torchvision:resnet18", in_channels=2, classes=3)


def test_weights_that_do_not_fit(stored: models.ResNet, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"

    def refused(content: Any) -> str:
        torch.save(content, path)
        with pytest.raises(UserError) as raised:
            made(classes=3, weights=str(path))
        message = str(raised.value)
        assert "\n" not in message
        return message

    state = stored.state_dict()
    assert "is not a state dict, tensors by name" in refused({"model": state})
    assert "is not a state dict, tensors by name" in refused([1, 2])
    assert "they lack conv1.weight and 1" in refused({})
    assert "they lack bn1.weight, the model has no other" in refused(
        {("other" if key == "bn1.weight" else key): value for key, value in state.items()}
    )
    narrow = {**state, "conv1.weight": torch.ones(64, 3, 3, 3)}
    assert "the shape of conv1.weight is (64, 3, 3, 3), not (64, 3, 7, 7)" in refused(narrow)
    assert "are not all finite" in refused({**state, "bn1.weight": torch.full((64,), float("nan"))})
    for name in ("weights.pth", "weights.safetensors"):
        damaged = tmp_path / name
        damaged.write_bytes(b"no such thing")
        with pytest.raises(UserError, match="cannot be read as a state dict") as raised:
            made(classes=3, weights=str(damaged))
        assert "\n" not in str(raised.value)


WITHOUT = """
    import sys

    sys.modules["torchvision"] = None  # importing it raises ImportError, as where it is not installed
    import torch
    from acu_core.errors import UserError
    from acu_core import from_conv2d, parameter_groups, to_conv2d
    from acu_core.nn.networks import build_network
    from acu_core.recipe.registry import NETWORKS

    for name in NETWORKS:
        if name.endswith(":"):
            continue
        model = build_network(name, in_channels=2, classes=3)
        parameter_groups(model, lr=0.1)
    from_conv2d(to_conv2d(model)).eval()(torch.zeros(1, 2, 32, 32))
    try:
        build_network("torchvision:resnet18", in_channels=3, classes=3)
    except UserError as error:
        assert "needs torchvision" in str(error)
    else:
        raise AssertionError
"""


def test_all_else_works_without_torchvision() -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(WITHOUT)], check=True, timeout=240)


def test_no_other_file_of_networks_and_operator_imports_torchvision() -> None:
    root = Path(__file__).parents[3] / "acu_core"
    importers = {
        path.name
        for part in ("nn", "op")
        for path in (root / part).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and re.match(r"(from|import) torchvision\b", ast.unparse(node))
    }
    assert importers == {"torchvision_network.py"}
