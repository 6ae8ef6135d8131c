from __future__ import annotations

import ast
import copy
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from oracles import relative_error
from safetensors.torch import save_file
from timm import layers as timm_layers
from torch import Tensor, nn

from acu_core.errors import UserError
from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
from acu_core.nn.conversion import from_conv2d, to_conv2d
from acu_core.nn.networks import build_network
from acu_core.nn.optimization import parameter_groups
from acu_core.nn.timm_network import convolution_kinds, timm_network
from acu_core.recipe.networks.timm import timm_models
from acu_core.recipe.recipe_file import load_recipe

KINDS = ["Conv2dSame", "StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame"]


def made(name: str = "test_resnet", classes: int = 10, in_channels: int = 3, **options: Any) -> nn.Module:
    torch.manual_seed(5)
    return build_network(f"timm:{name}", in_channels=in_channels, classes=classes, **options).eval()


def stored_state(name: str, classes: int, **arguments: Any) -> dict[str, Tensor]:
    """A state whose every tensor differs from what a new model has."""
    torch.manual_seed(1)
    state: dict[str, Tensor] = timm.create_model(name, num_classes=classes, **arguments).state_dict()
    return {k: v + 0.01 * torch.rand_like(v) if v.is_floating_point() else v for k, v in state.items()}


def moved(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for layer in active_layers(model).values():
            layer.positions += 0.3 * torch.randn_like(layer.positions)
    return model


def convolution(kind: str, stride: int = 2, kernel: int = 3, groups: int = 2) -> Any:
    torch.manual_seed(2)
    conv = getattr(timm_layers, kind)(4, 6, kernel, stride=stride, groups=groups, bias=True).double()
    if hasattr(conv, "gain"):
        nn.init.normal_(conv.gain)
    return conv


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (2, 5), (3, 4), (1, 4)])
def test_timms_own_convolutions(kind: str, stride: int, kernel: int) -> None:
    conv = convolution(kind, stride, kernel)
    model = nn.Sequential(conv)
    active = from_conv2d(model, kinds=convolution_kinds())
    assert isinstance(active[0], ActiveConv2d)  # type: ignore[index]
    for size in ((11, 12), (6, 7), (13, 4)):
        image = torch.randn(2, 4, *size, dtype=torch.float64)
        assert relative_error(active(image), conv(image)) < 1e-12, size
    # Whatever was learned leaves as an ordinary convolution, at any size of image.
    plain = to_conv2d(moved(active))
    assert type(plain[0]) is nn.Conv2d  # type: ignore[index]
    for size in ((11, 12), (6, 7), (13, 4)):
        image = torch.randn(2, 4, *size, dtype=torch.float64)
        assert relative_error(plain(image), active(image)) < 1e-12, size


@pytest.mark.parametrize("kind", KINDS)
def test_they_learn_as_timms_do(kind: str) -> None:
    conv = convolution(kind)
    active = from_conv2d(nn.Sequential(copy.deepcopy(conv)), kinds=convolution_kinds())
    rates = {id(p): 0.0 if "positions" in n else 0.1 for n, p in active.named_parameters()}
    ours = torch.optim.SGD([{"params": [p], "lr": rates[id(p)]} for p in active.parameters()])
    theirs = torch.optim.SGD(conv.parameters(), lr=0.1)
    for _ in range(3):
        image = torch.randn(2, 4, 9, 9, dtype=torch.float64)
        for model, optimizer in ((active, ours), (conv, theirs)):
            optimizer.zero_grad()
            model(image).square().sum().backward()
            optimizer.step()
    image = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    assert relative_error(active(image), conv(image)) < 1e-10
    assert bool(active[0].positions.grad.any())  # type: ignore[index, union-attr, operator]


def test_a_converted_model_shares_nothing_with_its_model() -> None:
    conv = convolution("ScaledStdConv2d")
    model = nn.Sequential(conv)
    active = from_conv2d(model, kinds=convolution_kinds())
    ours = {p.data_ptr() for p in active.parameters()}
    assert not ours & {p.data_ptr() for p in model.parameters()}
    conv.weight.requires_grad_(False)
    conv.gain.requires_grad_(False)
    frozen = from_conv2d(model.eval(), kinds=convolution_kinds())
    assert [n for n, p in frozen.named_parameters() if p.requires_grad] == ["0.bias"]
    assert not any(module.training for module in frozen.modules())


def test_hooks_of_a_padded_convolution_stay_too() -> None:
    conv = convolution("Conv2dSame")
    sizes: list[torch.Size] = []
    conv.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape))
    conv.register_forward_hook(lambda module, inputs, output: output + 1)
    image = torch.randn(1, 4, 7, 7, dtype=torch.float64)
    model = nn.Sequential(conv)
    expected = model(image)
    active = from_conv2d(model, kinds=convolution_kinds())
    for network in (active, copy.deepcopy(active), to_conv2d(active)):
        assert relative_error(network(image), expected) < 1e-12
    assert sizes == [torch.Size([1, 4, 7, 7])] * 4
    assert len(conv._forward_pre_hooks) == 1


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_nfnet", "tf_mobilenetv3_small_minimal_100"])
def test_stored_weights_are_kept(name: str, tmp_path: Path) -> None:
    state = stored_state(name, 7)
    path, safe = tmp_path / "weights.pth", tmp_path / "weights.safetensors"
    torch.save(state, path)
    save_file(state, safe)
    base = timm.create_model(name, num_classes=7).eval()
    base.load_state_dict(state)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = base(image)
        assert torch.equal(made(name, classes=7, weights=str(safe), unit="convolution")(image), logits)
        model = made(name, classes=7, weights=str(path))
        assert active_layers(model)
        assert relative_error(model(image), logits) < 1e-4
        moved(model)
        assert relative_error(to_conv2d(model)(image), model(image)) < 1e-4
        # A run's network is built so before its checkpoint is read.
        later = made(name, classes=7, weights="gone.pth", pretrained=False)
        later.load_state_dict(model.state_dict())
        assert torch.equal(later(image), model(image))


def test_for_other_classes_only_the_last_layer_is_new(tmp_path: Path) -> None:
    state = stored_state("test_resnet", 7)
    torch.save(state, tmp_path / "weights.pth")
    ours = made(classes=4, weights=str(tmp_path / "weights.pth")).state_dict()
    other = [k for k, v in state.items() if not torch.equal(ours[k].reshape(-1), v.reshape(-1))]
    assert other == ["fc.weight", "fc.bias"]
    assert ours["fc.weight"].shape[0] == 4


def test_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    state, asked = stored_state("test_resnet", 10), []
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **arguments: Any) -> nn.Module:
        asked.append((name, pretrained))
        model: nn.Module = create(name, **arguments)
        if pretrained:
            model.load_state_dict(state)
        return model

    monkeypatch.setattr(timm, "create_model", offline)
    for weights in ("DEFAULT", "r160_in1k"):
        assert torch.equal(made(weights=weights).state_dict()["fc.weight"], state["fc.weight"])
    made(weights="r160_in1k", pretrained=False)
    assert asked == [("test_resnet", True), ("test_resnet.r160_in1k", True), ("test_resnet.r160_in1k", False)]

    def unreachable(name: str, **arguments: Any) -> nn.Module:
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(timm, "create_model", unreachable)
    message = r"timm's weights test_resnet could not be downloaded \(no route to host\); .* give their path"
    with pytest.raises(UserError, match=message) as raised:
        made(weights="DEFAULT")
    assert "\n" not in str(raised.value)


def test_a_model_without_published_weights() -> None:
    name = next(name for name in timm_models() if not timm.models.is_model_pretrained(name))
    with pytest.raises(UserError, match=f"timm publishes no weights for {name}: give the path of others"):
        timm_network(name, 3, 10, "acu", weights="DEFAULT")
    with pytest.raises(UserError, match=f"nor one of timm's for {name}: it publishes none"):
        timm_network(name, 3, 10, "acu", weights="a1_in1k")


def test_the_rule_of_the_recipe() -> None:
    names = list(active_layers(made("test_resnet")))
    assert names[:4] == ["conv1.0", "conv1.3", "conv1.6", "layer1.0.conv1"]
    assert list(active_layers(made("test_resnet", except_layers="conv1*, layer1.0.conv1"))) == names[4:]
    groups = {layer.groups > 1 for layer in active_layers(made("mobilenetv3_small_050")).values()}
    assert groups == {True, False}
    large = active_layers(made("mobilenetv3_small_050", smallest_kernel=5)).values()
    assert {layer.kernel_size for layer in large} == {(5, 5)}
    # timm's models take images of any number of channels.
    assert made(in_channels=2)(torch.randn(1, 2, 64, 64)).shape == (1, 10)


def test_the_same_seed_gives_the_same_network() -> None:
    first, second = made("test_nfnet").state_dict(), made("test_nfnet").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_groups_of_an_optimizer() -> None:
    model = made("test_nfnet")
    groups = {group["role"]: group["params"] for group in parameter_groups(model, lr=0.1)}
    layers = active_layers(model).values()
    assert {id(p) for p in groups["positions"]} == {id(layer.positions) for layer in layers}
    learned = {id(layer.parametrizations["weight"].original) for layer in layers}  # type: ignore[index, union-attr]
    assert learned <= {id(p) for p in groups["weights"]}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, r"timm has no model 'resnet19'; did you mean resnet\d+"),
        ("zzz", {}, r"timm has no model 'zzz'; there are \d{4}, such as resnet18 and convnext_tiny"),
        ("", {}, "timm has no model ''; there are"),
        (
            "resnet18.a1_in1k",
            {},
            r'resnet18\.a1_in1k names weights too: write timm:resnet18, and weights = "a1_in1k" in its options',
        ),
        (
            "test_resnet",
            {"kernel": 3},
            "options.kernel: unknown key; there are weights, smallest_kernel, except_layers$",
        ),
        ("test_resnet", {"weights": "V9"}, "'V9' is neither a file nor .* for test_resnet: r160_in1k, DEFAULT"),
        ("test_resnet", {"smallest_kernel": 9}, "no convolution of test_resnet is 9x9 or larger"),
        ("test_resnet", {"except_layers": "*"}, "none would become active"),
        ("test_resnet", {"except_layers": "convolution2"}, "matches no convolution of test_resnet"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        made(name, **options)
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="timm has no model 'resnet19'"):
        timm_network("resnet19", 3, 3, "acu")


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"

    def refused(content: Any) -> str:
        torch.save(content, path)
        with pytest.raises(UserError) as raised:
            made(classes=3, weights=str(path))
        assert "\n" not in str(raised.value)
        return str(raised.value)

    state = stored_state("test_resnet", 10)
    assert "do not fit timm's test_resnet: they lack " in refused({})
    assert "is not a state dict" in refused({"model": state})
    assert "are not all finite" in refused({**state, "fc.bias": torch.full((10,), float("nan"))})
    assert "the shape of fc.weight is (5, 7)" in refused({**state, "fc.weight": torch.ones(5, 7)})


def test_the_names_are_timms_own() -> None:
    # Read off its files, because a recipe is checked without importing it.
    assert list(timm_models()) == sorted(timm.list_models())


WITHOUT = """
    import sys

    sys.modules["timm"] = None  # importing it raises ImportError, as where it is not installed
    from acu_core.errors import UserError
    from acu_core.nn.networks import build_network

    build_network("torchvision:resnet18", in_channels=3, classes=3)
    try:
        build_network("timm:resnet18", in_channels=3, classes=3)
    except UserError as error:
        assert "needs timm" in str(error)
        assert "pip install 'active-convolution[timm]'" in str(error)
    else:
        raise AssertionError
"""


def test_without_timm_one_sentence_names_the_extra() -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(WITHOUT)], check=True, timeout=240)


def test_only_one_file_of_the_networks_imports_timm() -> None:
    root = Path(__file__).parents[3] / "acu_core"
    importers = {
        path.name
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and re.match(r"(from|import) timm\b", ast.unparse(node))
    }
    assert importers == {"timm_network.py"}


def test_a_recipe_names_a_model_of_timm_without_importing_it() -> None:
    code = (
        "import sys\nfrom acu_core.recipe.recipe_file import load_recipe\n"
        "load_recipe('planted', ['network.name=timm:resnet18'])\n"
        "assert not {'timm', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    table = load_recipe("planted", ["network.name=timm:resnet18", "network.options={weights='a1_in1k'}"]).network
    assert table.pretrained
