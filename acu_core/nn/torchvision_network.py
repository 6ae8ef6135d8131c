"""Torchvision's classification models. The one place among the networks that imports torchvision."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acu_core.errors import UserError
from acu_core.nn.conversion_rule import active_by_rule, check_smallest_kernel
from acu_core.nn.convolution_unit import Unit, check_unit
from acu_core.nn.stored_state import check_finite, load_state, read_state

# Two models can have classifiers on the side, whose logits a training would have to weigh; here they have none.
SIDE_CLASSIFIERS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}


def _models() -> Any:
    # torchvision's wheel raises RuntimeError beside a torch that it was not built for.
    try:
        from torchvision import models
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"a network of torchvision needs torchvision, which does not load here ({error}); install it."
        ) from error
    return models


def torchvision_network(
    name: str,
    in_channels: int,
    classes: int,
    unit: Unit,
    *,
    weights: str = "",
    smallest_kernel: int = 3,
    except_layers: Collection[str] = (),
    pretrained: bool = True,
) -> nn.Module:
    """A classification model of torchvision, its larger convolutions turned into active ones that keep their weights.

    Shapes: images (N, 3, H, W) to logits (N, classes); H and W as the model wants them.

    Args:
        name: torchvision's name of the model, such as "resnet18".
        in_channels: 3.
        classes: how many. Where the weights are for another number, the last layer starts anew.
        unit: "acu", or "convolution", which leaves the model as it is.
        weights: "" starts at random; "DEFAULT", "IMAGENET1K_V1", ... are torchvision's, downloaded once; all else is
            the path of a state dict of the model, written by torch.save or as .safetensors.
        smallest_kernel: convolutions at least so large on both sides become active.
        except_layers: patterns of names of layers that stay ordinary, such as "conv1" and "layer1.*".
        pretrained: False leaves `weights` unread, for a model whose state is loaded afterwards.

    Raises:
        UserError: torchvision does not load, the weights cannot be had or do not fit the model.
        ValueError: the model is unknown or an option does not fit.
    """
    check_unit(unit)
    check_smallest_kernel(smallest_kernel)
    models = _models()
    # torchvision would build a model for another task without a word.
    if name not in models.list_models(module=models):
        raise ValueError(f"torchvision has no classification model {name!r}")
    if in_channels != 3:
        raise ValueError(f"torchvision's {name} takes images of 3 channels, not of {in_channels}")
    published = models.get_model_weights(name).__members__.get(weights)
    if weights and published is None and pretrained and not Path(weights).is_file():
        names = ", ".join(models.get_model_weights(name).__members__)
        raise UserError(f"weights = {weights!r} is neither a file nor one of torchvision's for {name}: {names}")
    model = models.get_model(name, weights=None, num_classes=classes, **_structure(name, bool(weights), published))
    if weights and pretrained:
        _load(model, name, _published_state(published) if published else read_state(Path(weights)), weights)
    return model if unit == "convolution" else active_by_rule(model, name, smallest_kernel, except_layers)


def _structure(name: str, pretrained: bool, published: Any) -> dict[str, Any]:
    structure: dict[str, Any] = {}
    if name in SIDE_CLASSIFIERS:
        # Their weights were trained on images that are normalised otherwise.
        structure |= {"aux_logits": False, "init_weights": not pretrained, "transform_input": pretrained}
    if name.startswith("vit_") and published is not None:
        structure["image_size"] = published.meta["min_size"][0]
    return structure


def _published_state(published: Any) -> Mapping[str, Any]:
    try:
        state: Mapping[str, Any] = published.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # a download fails in many ways, and so does a damaged file
        raise UserError(
            f"torchvision's weights {published} could not be downloaded from {published.url} ({error}); "
            "download them elsewhere and give their path as weights."
        ) from error
    return state


def _head(model: nn.Module) -> str:
    """The name of the layer that makes the logits: the last one with parameters, in every model of torchvision."""
    name = ""
    for candidate, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            name = candidate
    return name


def _renew_head(model: nn.Module, classes: int) -> None:
    name = _head(model)
    old: Any = model.get_submodule(name)
    new: nn.Module
    if isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, classes, 1, bias=old.bias is not None)
    else:
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new)


def _load(model: nn.Module, name: str, stored: Mapping[str, Any], source: str) -> None:
    state: OrderedDict[str, Any] = OrderedDict()
    for key, value in stored.items():
        if key.startswith(SIDE_CLASSIFIERS.get(name, ())):
            continue
        if name.startswith("densenet"):
            # The published file has the names of an early version.
            key = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
        state[key] = value
    # Layers read it to tell old files from new ones; a .safetensors file has none.
    state._metadata = getattr(stored, "_metadata", None) or model.state_dict()._metadata  # type: ignore[attr-defined]
    check_finite(state, name, source)
    classes = len(model.state_dict()[f"{_head(model)}.weight"])
    rows = state.get(f"{_head(model)}.weight", torch.empty(classes))
    others = rows.dim() > 0 and len(rows) not in (0, classes)
    if others:
        _renew_head(model, len(rows))
    load_state(model, state, f"torchvision's {name}", source)
    if others:
        _renew_head(model, classes)
