"""The parts of a page that are the same at every iteration, as HTML; all text from outside is escaped here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

import numpy as np

from acu_core.render.frame_schedule import gaps
from acu_core.render.layer_names import short_names, stages
from acu_core.render.recording import Recording
from acu_core.report.packed_recording import NEAREST, PackedRecording
from acu_core.report.page_data import error_stride
from acu_core.report.run_facts import RunFacts
from acu_core.report.training_loss import TrainingLoss

_LETTERS, _FEW_LETTERS = 20, 14
_OPEN_LAYERS = 8
_MOST_WITHOUT_STAGES = 12
_LEGEND_GROUPS = 8
_FEWEST_OF_A_STAGE = 3


def status(recording: Recording, facts: RunFacts) -> str:
    """A sentence about a run that is not finished; nothing about another one."""
    last = int(recording.iterations[-1])
    if facts.imported or facts.planned is None or last >= facts.planned:
        return ""
    return (
        f'<p class="status">As of iteration {last:,} of {facts.planned:,}: '
        "the run had not finished when this page was made.</p>"
    )


def figures(recording: Recording, packed: PackedRecording, facts: RunFacts) -> str:
    """The run in a few numbers."""
    parts = []
    curve = recording.curve
    first, last = int(recording.iterations[0]), int(recording.iterations[-1])
    inside = [] if curve is None else np.flatnonzero(curve.iterations <= last).tolist()
    if curve is not None and inside:
        newest, best = inside[-1], min(inside, key=lambda n: curve.errors[n])
        note = f"at iteration {curve.iterations[newest]:,}"
        if best != newest:
            note += f"; lowest {curve.errors[best]:.2f} % at {curve.iterations[best]:,}"
        parts.append(_figure("Test error", f"{curve.errors[newest]:.2f} %", note))
    planned = (
        "" if facts.planned is None or facts.planned == last or facts.imported else f"of {facts.planned:,} planned; "
    )
    count = len(recording.iterations)
    recorded = (
        "one snapshot" if count == 1 else f"{count:,} snapshots, {first:,} {'to' if count > 2 else 'and'} {last:,}"
    )
    parts.append(_figure("Iterations", f"{last:,}", planned + recorded))
    parts.append(_moved(packed.moved))
    return f'<dl class="figures">{"".join(parts)}</dl>'


def panels(recording: Recording) -> str:
    """A figure with a canvas for each layer, under the names of the stages where there are several."""
    names = list(recording.positions)
    found = _titled_stages(names)
    if not found:
        return "".join(map(_panel, names, short_names(names, _LETTERS)))
    parts = []
    for title, stage in found:
        inner = [name.removeprefix(f"{title}.") for name in stage]
        parts.append(f"<h3>{escape(title)}</h3>" if title else "")
        parts += map(_panel, stage, short_names(inner, _FEW_LETTERS))
    return "".join(parts)


def columns(names: Sequence[str]) -> int:
    """Columns for the panels on a wide page, such that the last rows are nearly full."""
    if len(names) <= 4:
        return (1, 2, 3, 2)[len(names) - 1]
    if len(names) <= _MOST_WITHOUT_STAGES:
        return min((3, 4), key=lambda c: (-len(names) % c, -c))
    lengths = [len(stage) for _, stage in _titled_stages(names)] or [len(names)]
    return min((5, 4), key=lambda c: sum(-length % c for length in lengths if length > 1))


def legend(recording: Recording) -> str:
    """What the marks mean, those that this run has."""
    dot = '<circle class="group-{}" cx="11" cy="7" r="4.5"/>'
    sizes = "".join(
        f'<circle class="mark" cx="{x}" cy="7" r="{4.4 * norm**2:.1f}"/>'
        for x, norm in ((4, 0.8), (14, 1.0), (28, 1.2))
    )
    groups = min(max(values.shape[1] for values in recording.positions.values()), _LEGEND_GROUPS)
    marks = [(dot.format(group), f"group {group}") for group in range(groups)] if groups > 1 else []
    marks.insert(0, (sizes, "synapse: its weight norm, 0.8 to 1.2 of the mean"))
    marks.append(('<circle class="ghost" cx="11" cy="7" r="4.5"/>', "where it began"))
    if len(recording.iterations) > 1:
        unknown = gaps(recording.iterations)
        if not unknown.all():
            marks.append(('<path class="trail" d="M1 11Q8 1 21 6"/>', "the way it came"))
        if unknown.any():
            text = "interpolated: between these snapshots nothing was recorded"
            marks.append(('<path class="trail dashed" d="M1 11L21 4"/>', text))
    if recording.hidden is not None:
        marks.append(('<circle class="hidden" cx="11" cy="7" r="5.5"/>', "hidden shape that made the data"))
    marks.append(('<rect class="cell" x="5.5" y="1.5" width="11" height="11"/>', "one input pixel"))
    first, last = recording.iterations[0], recording.iterations[-1]
    if recording.warm_up > first:
        marks.append(('<rect class="warm-up" x="1" y="3.5" width="20" height="7"/>', "warm-up: positions wait"))
    if recording.curve is not None and any(first < drop <= last for drop in recording.curve.drops):
        marks.append(('<path class="drop" d="M11 0V14"/>', "the learning rate falls"))
    return "".join(
        f'<li><svg viewBox="0 0 {_mark_width(mark)} 14" width="{_mark_width(mark)}" height="14" aria-hidden="true">'
        f"{mark}</svg>{text}</li>"
        for mark, text in marks
    )


def curves(errors: int, loss: TrainingLoss | None) -> str:
    """The places of the curves, for `errors` evaluations and a loss; the script draws into them."""
    parts = []
    if errors:
        stride = error_stride(errors)
        note = f"Every {stride}th evaluation is drawn. " if stride > 1 else ""
        parts.append(_curve("errors", "Test error, %", f"{note}On all test images."))
    if loss is not None:
        each = (
            f"Each point is the mean of {loss.per:,} iterations' batches, the band their middle 80 %."
            if loss.per > 1
            else "Of each iteration's batch."
        )
        parts.append(_curve("loss", "Training loss", f"{each} Drag on a curve to move the iteration."))
    return "".join(parts)


def details(facts: RunFacts) -> str:
    """The recipe and the environment, folded."""
    parts = []
    if facts.recipe.strip():
        parts.append(
            f"<details><summary>Recipe, all of it</summary><pre><code>{escape(facts.recipe)}</code></pre></details>"
        )
    if facts.environment:
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in facts.environment
        )
        parts.append(
            f'<details><summary>Environment</summary><div class="scrolling"><table class="environment">{rows}</table>'
            "</div></details>"
        )
    return "".join(parts)


def note(packed: PackedRecording, version: str) -> str:
    """How exact the page is, and what made it."""
    # Rounded up, so that it stays true.
    off = np.ceil(packed.position_error * 1e4) / 1e4
    share = np.ceil(packed.norm_error * 1e3) / 10
    more = (
        "" if packed.position_error <= NEAREST else " The motion was too restless for a page of this size to be nearer."
    )
    return (
        f"Every recorded snapshot is here and nothing between them: positions at most {off:g} input pixels from the "
        f"recorded ones, weight norms at most {share:g} %.{more} "
        f"Made by acu {escape(version)}; the file needs no network."
    )


def _mark_width(mark: str) -> int:
    return 36 if mark.count("<") > 1 else 22


def _figure(name: str, value: str, note: str) -> str:
    return f"<div><dt>{name}</dt><dd>{value} <small>{note}</small></dd></div>"


def _moved(distances: dict[str, float]) -> str:
    largest = max(distances.values()) or 1.0
    names = short_names(list(distances), _LETTERS)
    rows = "".join(
        f'<li><span title="{escape(name)}">{escape(short)}</span>'
        f'<svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * distance / largest:.1f}" height="6"/></svg><span>{distance:.2f} px</span></li>'
        for (name, distance), short in zip(distances.items(), names, strict=True)
    )
    value, most = f"{max(distances.values()):.2f} px", ""
    if len(distances) > 1:
        name = max(distances, key=distances.__getitem__)
        rows, most = f"<ul>{rows}</ul>", f" <small>{escape(name)}, which moved most</small>"
    else:
        rows = ""
    if len(distances) > _OPEN_LAYERS:
        rows = f"<details><summary>by layer</summary>{rows}</details>"
    return (
        f'<div class="moved-by-layer"><dt>Moved from start to end, root mean square of a layer&#39;s synapses</dt>'
        f"<dd>{value}{most}{rows}</dd></div>"
    )


def _titled_stages(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The stages, each with what begins all its names; none where a page needs no order, or stages have no names.

    Neighbours that would leave most of a row empty are one without a title, whose layers have their whole names.
    """
    found: list[tuple[str, list[str]]] = []
    for stage in stages(names):
        if len(stage) >= _FEWEST_OF_A_STAGE:
            found.append((_shared_parts(stage), stage))
        elif found and not found[-1][0]:
            found[-1][1].extend(stage)
        else:
            found.append(("", list(stage)))
    several = len(names) > _MOST_WITHOUT_STAGES and len(found) > 1
    return found if several and any(title for title, _ in found) else []


def _shared_parts(names: Sequence[str]) -> str:
    shared = []
    for level in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    if shared or len(names) < 2:
        return ".".join(shared)
    # Of block1_1 and block1_2, as stages are told apart.
    found = {match[1] if match else "" for match in (re.match(r"([^.]*\d)[_-]\d+\.", name) for name in names)}
    return found.pop() if len(found) == 1 else ""


def _panel(name: str, short: str) -> str:
    # It breaks between its parts, where it breaks.
    full, label = escape(name), re.sub("([.\N{HORIZONTAL ELLIPSIS}])", r"\1<wbr>", escape(short))
    return (
        f'<figure class="panel"><figcaption><span class="name" title="{full}">{label}</span>'
        f'<span class="moved" title="from the start, root mean square of its synapses">'
        f'<span class="moved-word">moved </span><span class="moved-value"></span></span></figcaption>'
        f'<canvas role="img" aria-label="Shape of {full}" width="300" height="300"></canvas></figure>'
    )


def _curve(name: str, title: str, note: str) -> str:
    return (
        f'<div class="curve" id="{name}"><div class="curve-head"><h2>{title}</h2><output></output></div>'
        f'<svg role="img" aria-label="{title}, over the iterations"></svg><p class="small">{note}</p></div>'
    )
