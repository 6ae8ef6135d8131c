"""timm's models. The one place among the networks that imports timm."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from acu_core.errors import UserError
from acu_core.nn.conversion import Replacement
from acu_core.nn.conversion_rule import active_by_rule, check_smallest_kernel
from acu_core.nn.convolution_unit import Unit, check_unit
from acu_core.nn.stored_state import check_finite, load_state, read_state
from acu_core.nn.timm_convolutions import same_padded, standardized


def _timm() -> Any:
    # It imports torchvision, whose wheel raises RuntimeError beside a torch that it was not built for.
    try:
        import timm
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"a network of timm needs timm, which does not load here ({error}): pip install 'active-convolution[timm]'"
        ) from error
    return timm


def convolution_kinds() -> Mapping[type[nn.Conv2d], Replacement]:
    """What makes an active layer of timm's convolutions that compute something else than Conv2d; for `from_conv2d`.

    Raises UserError without timm.
    """
    layers = _timm().layers
    return {
        layers.Conv2dSame: same_padded,
        layers.StdConv2d: standardized,
        layers.StdConv2dSame: standardized,
        layers.ScaledStdConv2d: standardized,
        layers.ScaledStdConv2dSame: standardized,
    }


def timm_network(
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
    """A model of timm, its larger convolutions turned into active ones that keep their weights.

    Shapes: images (N, C, H, W) to logits (N, classes); H and W as the model wants them.

    Args:
        name: timm's name of the model without the weights' own, such as "resnet18".
        in_channels: C.
        classes: how many. Where the weights are for another number, the last layer starts anew.
        unit: "acu", or "convolution", which leaves the model as it is.
        weights: "" starts at random; "DEFAULT" and timm's names, such as "a1_in1k", are downloaded once; all else is
            the path of a state dict of the model, written by torch.save or as .safetensors.
        smallest_kernel: convolutions at least so large on both sides become active.
        except_layers: patterns of names of layers that stay ordinary, such as "conv1" and "layer1.*".
        pretrained: False leaves `weights` unread, for a model whose state is loaded afterwards.

    Raises:
        UserError: timm does not load, the weights cannot be had or do not fit the model.
        ValueError: the model is unknown or an option does not fit.
    """
    check_unit(unit)
    check_smallest_kernel(smallest_kernel)
    timm = _timm()
    if name not in timm.list_models():
        raise ValueError(f"timm has no model {name!r}")
    published = [tag.partition(".")[2] for tag in timm.list_models(f"{name}.*", pretrained=True)]
    if weights == "DEFAULT" or weights in published:
        model: nn.Module = _published(timm, name, weights, pretrained, in_chans=in_channels, num_classes=classes)
    elif weights and pretrained:
        if not Path(weights).is_file():
            known = ", ".join([*published, "DEFAULT"] if published else ["it publishes none"])
            raise UserError(f"weights = {weights!r} is neither a file nor one of timm's for {name}: {known}")
        model = _stored(timm, name, weights, in_channels, classes)
    else:
        model = timm.create_model(name, in_chans=in_channels, num_classes=classes)
    return (
        model
        if unit == "convolution"
        else active_by_rule(model, name, smallest_kernel, except_layers, convolution_kinds())
    )


def _published(timm: Any, name: str, weights: str, pretrained: bool, **arguments: int) -> Any:
    # Also where the weights are not read: a model may be built for their size of image.
    full = name if weights == "DEFAULT" else f"{name}.{weights}"
    if not pretrained:
        return timm.create_model(full, **arguments)
    if not timm.models.is_model_pretrained(name):
        raise UserError(f"timm publishes no weights for {name}: give the path of others as weights, or start at random")
    try:
        return timm.create_model(full, pretrained=True, **arguments)
    except Exception as error:  # a download fails in many ways, and so does a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"timm's weights {full} could not be downloaded ({reason}); "
            "download them elsewhere and give their path as weights."
        ) from error


def _stored(timm: Any, name: str, weights: str, in_channels: int, classes: int) -> Any:
    """The model with the weights of a file, its last layer new where they are for another number of classes."""
    state = read_state(Path(weights))
    check_finite(state, name, weights)
    # Some have a second classifier, for distillation.
    heads = timm.models.get_pretrained_cfg(name).classifier or ()
    head = heads if isinstance(heads, str) else next(iter(heads), "")
    rows = state.get(f"{head}.weight")
    stored_classes = len(rows) if rows is not None and rows.dim() and len(rows) else classes
    model = timm.create_model(name, in_chans=in_channels, num_classes=stored_classes)
    load_state(model, state, f"timm's {name}", weights)
    if stored_classes != classes:
        model.reset_classifier(classes)
    return model
