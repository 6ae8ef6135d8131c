"""Which form each layer of an exported network gets, and what that network takes beside the ordinary one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from acu_core.export.costs import Costs, costs, input_sizes
from acu_core.export.form_request import AUTO, CUSTOM, FORMS, FormRequest
from acu_core.export.form_timing import time_runs
from acu_core.export.formats import Format
from acu_core.export.layer_forms import ORDINARY, Form, LayerForms, layer_forms
from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
from acu_core.nn.conversion import replace_active

EXPORTED = "exported"
"""The network that is written."""
_PIXELS = 2**18
_BUSY = 0.25
"""Between the quartiles, as a share of the median: an idle machine stays within a tenth."""


@dataclass(frozen=True)
class NetworkCosts:
    """A whole network: the ordinary one, one with all layers in one form, or the exported one."""

    network: str
    costs: Costs
    seconds: float | None


@dataclass(frozen=True)
class FormChoice:
    """The form of each layer, what all forms take, and whole networks of them.

    `batch` is the number of images that were timed at once, None where nothing was; `runtime` what they were timed in.
    """

    chosen: Mapping[str, str]
    layers: Sequence[LayerForms] = ()
    networks: Sequence[NetworkCosts] = ()
    runtime: str = ""
    threads: int = 1
    batch: int | None = None


def usual_batch(size: tuple[int, ...]) -> int:
    """How many images of `size` (C, H, W) are timed at once: 64, fewer where they are large."""
    return max(1, min(64, _PIXELS // (size[-1] * size[-2])))


def choose_forms(
    model: nn.Module,
    size: tuple[int, ...],
    request: FormRequest,
    chosen: Format,
    *,
    batch: int,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[nn.Module, FormChoice]:
    """A copy of a network in evaluation mode with a form in place of each active layer: the one that is asked for, or
    the fastest.

    Where a form is to be chosen, all are timed on `batch` images of `size` (C, H, W), in turns: layer by layer, then
    whole networks. `CUSTOM` is timed but never chosen: a file with it is of no use without acu.

    Raises:
        UserError: what is asked for cannot be.
        ValueError: a layer can have no form, or not the one that it is to have.
    """
    layers = active_layers(model)
    wanted = request.for_layers(list(layers), chosen.forms)
    if not layers:
        return model, FormChoice({})
    timed = batch if AUTO in wanted.values() else None
    images = torch.zeros(1, *size)
    sizes = input_sizes(model, images)
    found = []
    for name, layer in layers.items():
        if timed is not None:
            note(f"Timing the forms of {name} in {chosen.runtime} ...")
        # A layer that no image passes has no size: any will do.
        found.append(layer_forms(name, layer, sizes.get(name, (layer.in_channels, 8, 8)), chosen, batch=timed))
    forms = {
        entry.layer: entry.form(_fastest(entry) if wanted[entry.layer] == AUTO else wanted[entry.layer])
        for entry in found
    }
    networks: dict[str, dict[str, Form]] = {ORDINARY: {entry.layer: entry.ordinary for entry in found}}
    for form in FORMS:
        if all(form in entry.forms for entry in found):
            networks[form] = {entry.layer: entry.forms[form] for entry in found}
    networks[EXPORTED] = forms
    whole = {name: _with_forms(model, parts) for name, parts in networks.items()}
    seconds: dict[str, float] = {}
    if timed is not None:
        note(f"Timing whole networks in {chosen.runtime} ...")
        timings = time_runs(chosen.network_runs(whole, size, batch))
        seconds = {name: timing.median for name, timing in timings.items()}
        ordinary = timings[ORDINARY]
        if ordinary.spread > _BUSY * ordinary.median:
            note(
                f"The machine was busy: the same network's times lay {100 * ordinary.spread / ordinary.median:.0f} % "
                "apart, so another form may be the fastest. Measure on an idle machine, or say the forms."
            )
        if set(wanted.values()) == {AUTO}:
            # Layers that were fastest one by one are not always so one after another.
            best = min((name for name in whole if name not in (ORDINARY, CUSTOM)), key=lambda name: seconds[name])
            forms, whole[EXPORTED], seconds[EXPORTED] = networks[best], whole[best], seconds[best]
    return whole[EXPORTED], FormChoice(
        {name: form.name for name, form in forms.items()},
        found,
        [NetworkCosts(name, costs(network, images), seconds.get(name)) for name, network in whole.items()],
        chosen.runtime,
        torch.get_num_threads(),
        timed,
    )


def _fastest(entry: LayerForms) -> str:
    offered = {name: form for name, form in entry.forms.items() if name != CUSTOM}
    if not offered:
        raise ValueError(f"layer {entry.layer}: {'; '.join(entry.refused.values())}")
    return min(offered, key=lambda name: offered[name].seconds or 0.0)


def _with_forms(model: nn.Module, forms: Mapping[str, Form]) -> nn.Module:
    def form(name: str, layer: ActiveConv2d) -> nn.Module:
        # A copy: the hooks that it gets belong to one network.
        return copy.deepcopy(forms[name].module)

    return replace_active(model, form).eval()
