"""The forms of each active layer of a network, and what each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from acu_core.export.costs import Costs, costs
from acu_core.export.custom_form import CustomForm
from acu_core.export.dense_form import dense_form
from acu_core.export.fixed_unit import FixedUnit
from acu_core.export.form_request import CUSTOM, DENSE, SHIFTS
from acu_core.export.form_timing import SURROUNDINGS, time_runs
from acu_core.export.formats import Format
from acu_core.export.shifts_form import BLEND_COSTS, kernel_sizes, shifted_synapses, shifts_form
from acu_core.nn.active_conv2d import ActiveConv2d

ORDINARY = "ordinary"
"""The convolution that a layer stands in place of; of a network, that with such convolutions."""


@dataclass(frozen=True)
class Form:
    """A layer in a form, with what it takes; `seconds` are those of a batch, where they were measured."""

    name: str
    module: nn.Module
    costs: Costs
    seconds: float | None = None

    @property
    def words(self) -> str:
        """What it consists of."""
        kernels = " and ".join("x".join(map(str, size)) for size in kernel_sizes(self.module))
        shifted = shifted_synapses(self.module)
        if self.name == CUSTOM:
            return "acu's operator"
        if not shifted:
            return f"kernel {kernels or '1x1'}"
        return f"{shifted} shifted" + (f", kernel {kernels}" if kernels else "")


@dataclass(frozen=True)
class LayerForms:
    """One layer: what it stands in place of, its forms by name, and why others are not among them."""

    layer: str
    ordinary: Form
    forms: Mapping[str, Form]
    refused: Mapping[str, str] = field(default_factory=dict)

    def form(self, name: str) -> Form:
        """The form of that name. Raises ValueError, with the reason, when the layer has none."""
        if name in self.forms:
            return self.forms[name]
        raise ValueError(f"layer {self.layer}: it has no form {name}: {self.refused[name]}")


def layer_forms(
    name: str,
    layer: ActiveConv2d,
    size: tuple[int, int, int],
    chosen: Format,
    *,
    batch: int | None,
) -> LayerForms:
    """The forms of a layer that gets images of `size` (C, H, W), timed with `batch` of them where that is given.

    There are several ways to shift: the form is the fastest of them, or the one that is likely to be.

    Raises ValueError when the layer can have no form at all.
    """
    try:
        unit, ordinary = FixedUnit.of(layer), FixedUnit.ordinary(layer)
    except ValueError as error:
        raise ValueError(f"layer {name}: {error}") from error
    made: dict[str, nn.Module] = {}
    refused: dict[str, str] = {}

    def offer(form: str, make: Callable[[], nn.Module]) -> None:
        try:
            made[form] = make()
        except ValueError as error:
            refused[form] = str(error)

    offer(DENSE, lambda: dense_form(unit))
    ways: dict[str, nn.Module] = {}
    for blend_cost in BLEND_COSTS if batch is not None else BLEND_COSTS[:1]:
        offer(
            SHIFTS,
            lambda cost=blend_cost: shifts_form(  # type: ignore[misc]
                unit, cost, symmetric=chosen.symmetric, channels_last=chosen.channels_last
            ),
        )
        if SHIFTS in made:
            way = made[SHIFTS]
            ways.setdefault(f"{SHIFTS} {shifted_synapses(way)} {kernel_sizes(way)}", way)
    if CUSTOM in chosen.forms:
        offer(CUSTOM, lambda: CustomForm(unit))
    if not made:
        raise ValueError(f"layer {name}: {refused[DENSE]}")
    # One way to shift may fail where another does not.
    refused = {form: reason for form, reason in refused.items() if form not in made}
    modules = {ORDINARY: dense_form(ordinary), **made}
    seconds: dict[str, float] = {}
    if batch is not None:
        # Nothing shifted is the dense kernel under another name: not timed twice, for chance to decide.
        shifting = {way: module for way, module in ways.items() if shifted_synapses(module) or DENSE not in made}
        runs = {form: module for form, module in modules.items() if form != SHIFTS} | shifting
        seconds = _seconds(chosen, runs, size, batch)
        unshifted = ways.keys() - shifting.keys()
        if unshifted:
            seconds |= dict.fromkeys(unshifted, seconds[DENSE])
        if ways:
            fastest = min(ways, key=lambda way: seconds[way])
            modules[SHIFTS], seconds[SHIFTS] = ways[fastest], seconds[fastest]
    images = torch.zeros(1, *size)
    forms = {form: Form(form, module, costs(module, images), seconds.get(form)) for form, module in modules.items()}
    return LayerForms(name, forms.pop(ORDINARY), forms, refused)


def _seconds(
    chosen: Format, modules: Mapping[str, nn.Module], size: tuple[int, int, int], batch: int
) -> dict[str, float]:
    medians = {name: timing.median for name, timing in time_runs(chosen.layer_runs(modules, size, batch)).items()}
    surroundings = medians.pop(SURROUNDINGS, 0.0)
    return {name: max(median - surroundings, 0.0) for name, median in medians.items()}
