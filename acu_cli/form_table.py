"""What the forms of an exported network take, as tables and as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acu_cli import terminal

if TYPE_CHECKING:
    from acu_core.export.costs import Costs
    from acu_core.export.form_choice import FormChoice

TITLES = {
    "ordinary": "ordinary convolutions",
    "dense": "all dense",
    "shifts": "all shifts",
    "custom": "all custom",
    "exported": "as written",
}


def print_forms(choice: FormChoice) -> None:
    """The forms layer by layer, then whole networks, beside the network with ordinary convolutions."""
    if not choice.layers:
        return
    timed = "" if choice.batch is None else f", {choice.batch} images in {choice.runtime}, {choice.threads} threads"
    rows = []
    for entry in choice.layers:
        for name, form in {"ordinary": entry.ordinary, **entry.forms}.items():
            shown = name + (" *" if name == choice.chosen[entry.layer] else "")
            rows.append([entry.layer, shown, form.words, *_figures(form.costs, form.seconds, entry.ordinary.seconds)])
        rows += [
            [entry.layer, name, f"not possible: {reason}", "", "", "", ""] for name, reason in entry.refused.items()
        ]
    columns = ["parameters", "operations", "ms", "ratio"]
    terminal.table(["layer", "form", "what it is", *columns], rows, title=f"Forms (* as written){timed}")
    ordinary = choice.networks[0].seconds
    terminal.table(
        ["network", *columns],
        [[TITLES[one.network], *_figures(one.costs, one.seconds, ordinary)] for one in choice.networks],
    )
    terminal.print("Operations are multiply-adds for one image; ratios are to ordinary convolutions.")
    seconds = {one.network: one.seconds for one in choice.networks if one.seconds is not None}
    if seconds.get("custom", float("inf")) < seconds.get("exported", 0.0):
        terminal.print("custom is faster, for use beside acu: --form custom")


def _figures(costs: Costs, seconds: float | None, ordinary: float | None) -> list[str]:
    ratio = f"{seconds / ordinary:.2f}" if seconds is not None and ordinary else ""
    return [f"{costs.parameters:,}", f"{costs.operations:,}", "" if seconds is None else f"{1e3 * seconds:.2f}", ratio]


def forms_as_json(choice: FormChoice) -> dict[str, Any]:
    """The same as plain values."""

    def plain(costs: Costs, seconds: float | None) -> dict[str, Any]:
        return {"parameters": costs.parameters, "operations": costs.operations, "seconds": seconds}

    found: dict[str, Any] = {
        "forms": dict(choice.chosen),
        "layer_forms": [
            {
                "layer": entry.layer,
                "form": choice.chosen[entry.layer],
                "forms": [
                    {"form": name, "words": form.words, **plain(form.costs, form.seconds)}
                    for name, form in {"ordinary": entry.ordinary, **entry.forms}.items()
                ],
                "refused": dict(entry.refused),
            }
            for entry in choice.layers
        ],
        "networks": [{"network": one.network, **plain(one.costs, one.seconds)} for one in choice.networks],
    }
    if choice.batch is not None:
        found |= {"runtime": choice.runtime, "threads": choice.threads, "batch": choice.batch}
    return found
