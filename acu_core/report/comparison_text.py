"""A comparison of runs as tables of text, as Markdown and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from acu_core.report.comparison import Comparison, Group, Measure, value_text
from acu_core.report.difference import PAIRED, Difference

NONE = "-"
_MOST_NAMES = 3


@dataclass(frozen=True)
class TextTable:
    """Columns and rows of cells under a title."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(comparison: Comparison) -> list[TextTable]:
    """The groups; for each measure the differences; then in what recipes and environments differ."""
    found = [_groups(comparison)]
    if len(comparison.groups) > 1:
        found += [_differences(comparison, measure) for measure in comparison.measures]
    if comparison.settings:
        found.append(_settings(comparison))
    if comparison.conditions:
        found.append(_conditions(comparison))
    return found


def remarks(comparison: Comparison) -> list[str]:
    """What a reader must know, and which runs were left out."""
    return [*comparison.remarks, *(f"Left out: {run.path}: {run.reason}." for run in comparison.left_out)]


def markdown(comparison: Comparison) -> str:
    """All of it as Markdown."""
    lines = []
    for table in tables(comparison):
        lines += [f"**{_escaped(table.title)}**", ""]
        for cells in (table.columns, ("---",) * len(table.columns), *table.rows):
            lines.append("| " + " | ".join(map(_escaped, cells)) + " |")
        lines.append("")
    lines += [f"- {_escaped(remark)}" for remark in remarks(comparison)]
    return "\n".join(lines).rstrip("\n") + "\n"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Plain values; `test_error` in percent, `median_distance` in pixels; differences are from the first group."""
    differences = {measure.name: comparison.differences(measure) for measure in comparison.measures}
    return {
        "iteration": comparison.iteration,
        "groups": [
            {
                "group": group.label,
                "recipe": group.runs[0].name,
                "seeds": [run.seed for run in group.runs],
                **{measure.name: _sample_json(group, measure) for measure in comparison.measures},
                "runs": [
                    {
                        "run": str(run.path),
                        "seed": run.seed,
                        "iteration": run.iteration,
                        "iterations": run.iterations,
                        "errors": run.test_errors,
                        "images": run.test_images,
                        **{measure.name: measure.value(run) for measure in comparison.measures},
                    }
                    for run in group.runs
                ],
            }
            for group in comparison.groups
        ],
        "differences": [
            {
                "group": group.label,
                "from": comparison.groups[0].label,
                **{name: _difference_json(found[number]) for name, found in differences.items()},
            }
            for number, group in enumerate(comparison.groups[1:])
        ],
        "settings": {key: list(values) for key, values in comparison.settings},
        "conditions": {
            key: [{"value": value, "runs": [str(path) for path in paths]} for value, paths in values]
            for key, values in comparison.conditions
        },
        "remarks": list(comparison.remarks),
        "left_out": [{"run": str(run.path), "reason": run.reason} for run in comparison.left_out],
    }


def _sample_json(group: Group, measure: Measure) -> dict[str, Any]:
    sample = group.sample(measure)
    return {"n": sample.n, "mean": sample.mean, "spread": sample.spread}


def _difference_json(found: Difference | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "difference": found.difference,
        "interval": None if found.interval is None else list(found.interval),
        "method": found.method,
        "seeds": list(found.seeds),
        "winner": None if found.lower is None else ("base", "group")[found.lower],
        "reason": found.reason,
    }


def _groups(comparison: Comparison) -> TextTable:
    columns = ["group", "n", "seeds"]
    for measure in comparison.measures:
        columns += [f"{measure.title}, {measure.unit}", "spread"]
    rows = []
    for group in comparison.groups:
        row = [group.label, str(len(group.runs)), _seeds([run.seed for run in group.runs])]
        for measure in comparison.measures:
            sample = group.sample(measure)
            # The column n is of the test errors, which every run has.
            fewer = f" (n {sample.n})" if 0 < sample.n < len(group.runs) else ""
            row += [_number(sample.mean, measure) + fewer, _number(sample.spread, measure)]
        rows.append(tuple(row))
    where = "at the end" if comparison.iteration is None else f"at iteration {comparison.iteration:,}"
    return TextTable(f"Means over seeds {where}, and their sample standard deviations", tuple(columns), tuple(rows))


def _differences(comparison: Comparison, measure: Measure) -> TextTable:
    rows = []
    for group, found in zip(comparison.groups[1:], comparison.differences(measure), strict=True):
        if found is None:
            rows.append((group.label, NONE, NONE, "not measured in both"))
            continue
        interval = NONE
        if found.interval is not None:
            low, high = (_signed(end, measure) for end in found.interval)
            interval = f"{low} to {high} ({_method(found)})"
        rows.append((group.label, _signed(found.difference, measure), interval, verdict(found)))
    unit = "points" if measure.unit == "%" else measure.unit
    title = f"{measure.title.capitalize()}, difference from {comparison.groups[0].label}, {unit}"
    return TextTable(title, ("group", "difference", "95 % interval", "verdict"), tuple(rows))


def verdict(found: Difference) -> str:
    """What the difference says, in a few words."""
    if found.interval is None:
        return f"no interval: {found.reason}"
    if found.lower is None:
        return "no winner: 0 lies within"
    return ("higher", "lower")[found.lower]


def _method(found: Difference) -> str:
    count = f"{len(found.seeds)} shared seeds" if found.method == PAIRED else "no seed shared"
    return f"{found.method}, {count}"


def _settings(comparison: Comparison) -> TextTable:
    labels = [group.label for group in comparison.groups]
    values = [(key, *map(value_text, found)) for key, found in comparison.settings]
    title = "What differs in the recipes"
    if len(values) < len(labels):
        columns = zip(("group", *labels), *values, strict=True)
        first, *rows = columns
        return TextTable(title, first, tuple(rows))
    return TextTable(title, ("key", *labels), tuple(values))


def _conditions(comparison: Comparison) -> TextTable:
    rows = []
    for key, values in comparison.conditions:
        for value, paths in values:
            names = [str(path) for path in paths[:_MOST_NAMES]]
            more = [f"and {len(paths) - _MOST_NAMES} more"] if len(paths) > _MOST_NAMES else []
            rows.append((key.replace("_", " "), value_text(value), ", ".join([*names, *more])))
    return TextTable("What differs in the environments", ("condition", "value", "runs"), tuple(rows))


def _seeds(seeds: Sequence[int]) -> str:
    """`0-4, 7`: each stretch in short."""
    stretches: list[list[int]] = []
    for seed in seeds:
        if stretches and seed == stretches[-1][-1] + 1:
            stretches[-1][1:] = [seed]
        else:
            stretches.append([seed])
    return ", ".join("-".join(map(str, stretch)) for stretch in stretches)


def _number(value: float | None, measure: Measure) -> str:
    return NONE if value is None else f"{value:.{measure.digits}f}"


def _signed(value: float, measure: Measure) -> str:
    # Not "-0.00".
    return f"{round(value, measure.digits) + 0.0:+.{measure.digits}f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
