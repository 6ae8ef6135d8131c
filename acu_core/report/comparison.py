"""Runs beside each other: grouped by recipe, paired by seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from acu_core.errors import UserError
from acu_core.report.compared_run import ComparedRun, LeftOutError
from acu_core.report.difference import Difference
from acu_core.report.run_settings import DATA_KEY, PARENT, UNKNOWN_PARENT
from acu_core.runs.conditions import DATA
from acu_core.sample import Sample

_NAMED_KEYS = 4
"""Keys in the label of a group; the table of the settings has all."""


@dataclass(frozen=True)
class Measure:
    """Something that is compared, of which less is better. `digits` are those after the point in a table."""

    name: str
    title: str
    unit: str
    digits: int
    value: Callable[[ComparedRun], float | None]


ERROR = Measure("test_error", "test error", "%", 2, lambda run: run.test_error)
DISTANCE = Measure("median_distance", "median distance to the hidden shape", "px", 3, lambda run: run.distance)


@dataclass(frozen=True)
class LeftOut:
    """A run that is in no group, and why, in a phrase."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Group:
    """The runs of one recipe, one of each seed, in the order of the seeds."""

    label: str
    runs: tuple[ComparedRun, ...]

    def by_seed(self, measure: Measure) -> dict[int, float]:
        """The measure of every run that has it."""
        values = {run.seed: measure.value(run) for run in self.runs}
        return {seed: value for seed, value in values.items() if value is not None}

    def sample(self, measure: Measure) -> Sample:
        """The same without the seeds."""
        return Sample.of(self.by_seed(measure).values())


@dataclass(frozen=True)
class Comparison:
    """Groups in the order in which their runs were given; the first is what the others are compared with.

    `settings` are the recipes' keys that differ, each with its value in every group, None where it is absent;
    `conditions` those of the environments, each with its values and their runs. `remarks` are sentences about what a
    reader must know before believing a difference. `iteration` is None where each run is compared at its end.
    """

    groups: tuple[Group, ...]
    left_out: tuple[LeftOut, ...]
    settings: tuple[tuple[str, tuple[Any, ...]], ...]
    conditions: tuple[tuple[str, tuple[tuple[Any, tuple[Path, ...]], ...]], ...]
    remarks: tuple[str, ...]
    iteration: int | None

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The test error, and the distance where a run has one."""
        has_distance = any(group.by_seed(DISTANCE) for group in self.groups)
        return (ERROR, DISTANCE) if has_distance else (ERROR,)

    def differences(self, measure: Measure) -> list[Difference | None]:
        """Of every group but the first, from the first."""
        base = self.groups[0].by_seed(measure)
        return [Difference.between(base, group.by_seed(measure)) for group in self.groups[1:]]


def compare(paths: Iterable[Path], *, iteration: int | None = None, base: Path | None = None) -> Comparison:
    """Compares the runs at `paths` at their ends, or all at `iteration`; the group of the run `base` comes first.

    Two runs are of one recipe when all settings are the same that decide a training, whatever their names are for.
    Raises UserError when no run can be compared.
    """
    given: dict[Path, Path] = {}
    for path in paths:
        given.setdefault(path.resolve(), path)
    runs: list[ComparedRun] = []
    left_out: list[LeftOut] = []
    for path in given.values():
        try:
            runs.append(ComparedRun.read(path, iteration))
        except LeftOutError as error:
            left_out.append(LeftOut(path, str(error)))
    if not runs:
        reasons = "; ".join(f"{run.path}: {run.reason}" for run in left_out[:3])
        more = f"; and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        raise UserError(f"there is no run to compare: {reasons}{more}" if left_out else "there is no run to compare")
    grouped: dict[str, dict[int, ComparedRun]] = {}
    for run in runs:
        same = grouped.setdefault(run.recipe_key, {})
        if run.seed in same:
            first = same[run.seed]
            # Data that are made differ where something else made them: they are no key of a recipe.
            data = ", but other data," if run.conditions[DATA] != first.conditions[DATA] else ","
            reason = f"the same recipe and seed as {first.path}{data} and one seed counts once"
            left_out.append(LeftOut(run.path, reason))
        else:
            same[run.seed] = run
    parts = [tuple(seeds[seed] for seed in sorted(seeds)) for seeds in grouped.values()]
    if base is not None:
        parts.sort(key=lambda part: all(run.path.resolve() != base.resolve() for run in part))
        if all(run.path.resolve() != base.resolve() for run in parts[0]):
            reason = next((f": {run.reason}" for run in left_out if run.path.resolve() == base.resolve()), "")
            raise UserError(f"{base} is not among the runs that are compared{reason}")
    settings = _differing([part[0] for part in parts])
    groups = tuple(Group(label, part) for label, part in zip(_labels(parts), parts, strict=True))
    found = Comparison(groups, tuple(left_out), settings, _conditions(runs), (), iteration)
    return replace(found, remarks=_remarks(found))


def value_text(value: Any) -> str:
    """A setting as a reader of the recipe knows it."""
    return "absent" if value is None else value if isinstance(value, str) else json.dumps(value)


def _differing(runs: Sequence[ComparedRun]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    keys = dict.fromkeys(key for run in runs for key in run.settings if key != UNKNOWN_PARENT)
    values = {key: tuple(run.settings.get(key) for run in runs) for key in keys}
    differing = {}
    for key, found in values.items():
        known = [value for run, value in zip(runs, found, strict=True) if _is_known(run, key)]
        if any(value != known[0] for value in known):
            differing[key] = found
    # A parent that differs as its child does is said once.
    once = [key for key, found in differing.items() if values.get(_own_key(key)) != found]
    # Data of different names differ in every byte.
    names = values.get("data.name", ())
    same_data = len(set(zip(names, values.get(DATA_KEY, names), strict=True))) == len(set(names))
    return tuple((key, differing[key]) for key in once if key != DATA_KEY or not same_data)


def _is_known(run: ComparedRun, key: str) -> bool:
    return key in run.settings or not key.startswith(PARENT) or UNKNOWN_PARENT not in run.settings


def _own_key(key: str) -> str:
    """What the key of a parent is called in its child; no key where it is none of a parent."""
    return key.removeprefix(PARENT) if key.startswith(PARENT) else ""


def _labels(parts: Sequence[tuple[ComparedRun, ...]]) -> list[str]:
    """The recipe's name, and where several have it, what differs between those."""
    labels: list[str] = []
    for part in parts:
        name = part[0].name
        same = [other[0] for other in parts if other[0].name == name]
        differing = [(key, part[0].settings.get(key)) for key, _ in _differing(same) if _is_known(part[0], key)]
        texts = [
            _setting_text(key, value)
            for key, value in differing[:_NAMED_KEYS]
            # A hash says nothing to a reader.
            if not key.endswith(DATA_KEY) or value != same[0].settings.get(key)
        ]
        more = [f"and {len(differing) - _NAMED_KEYS} more"] if len(differing) > _NAMED_KEYS else []
        if UNKNOWN_PARENT in part[0].settings and len(same) > 1:
            more.append(f"unknown parent {Path(part[0].settings[UNKNOWN_PARENT][0]).name}")
        label = f"{name} ({', '.join([*texts, *more])})" if texts or more else name
        # The keys that are not named may be those that tell two of them apart.
        labels.append(label if label not in labels else f"{label} [{len(labels) + 1}]")
    return labels


def _setting_text(key: str, value: Any) -> str:
    if key.endswith(DATA_KEY):
        return "other data" if key == DATA_KEY else "parent trained on other data"
    return f"{key}={value_text(value)}"


def _conditions(
    runs: Sequence[ComparedRun],
) -> tuple[tuple[str, tuple[tuple[Any, tuple[Path, ...]], ...]], ...]:
    found = []
    for key in runs[0].conditions:
        # Made-up data are another set for every seed: only those of one seed must be the same.
        if key == DATA:
            continue
        values: dict[str, list[ComparedRun]] = {}
        for run in runs:
            values.setdefault(json.dumps(run.conditions[key]), []).append(run)
        if len(values) > 1:
            found.append(
                (key, tuple((same[0].conditions[key], tuple(run.path for run in same)) for same in values.values()))
            )
    return tuple(found)


def _remarks(comparison: Comparison) -> tuple[str, ...]:
    groups, iteration = comparison.groups, comparison.iteration
    remarks = []
    lengths = {group.runs[0].iterations: group.label for group in groups}
    if len(lengths) > 1 and iteration is None:
        numbers = ", ".join(f"{length:,}" for length in sorted(lengths))
        remarks.append(
            f"These trainings differ in length ({numbers} iterations), and each is compared at its own end: compare "
            "them at an iteration that all of them have, too."
        )
    elif iteration is not None and any(run.iterations != iteration for group in groups for run in group.runs):
        remarks.append(
            f"Compared at iteration {iteration:,}, which is not the end of every training: a schedule that has not yet "
            "lowered its rates looks worse than it is."
        )
    images = sorted({run.test_images for group in groups for run in group.runs})
    if len(images) > 1:
        numbers = ", ".join(f"{count:,}" for count in images)
        remarks.append(f"The runs were evaluated on different numbers of test images: {numbers}.")
    sets = dict.fromkeys(str(group.runs[0].settings["data.name"]) for group in groups)
    if len(sets) > 1:
        remarks.append(f"These were trained on different data sets ({', '.join(sets)}), so their errors are no match.")
    first: dict[object, ComparedRun] = {}
    for run in (run for group in groups for run in group.runs):
        like = first.setdefault((run.settings["data.name"], run.seed if run.has_made_data else None), run)
        if run.conditions[DATA] != like.conditions[DATA]:
            remarks.append(
                f"{like.path} and {run.path} were trained on different data, which may be all the difference."
            )
            break
    remarks += [remark for group in groups for run in group.runs for remark in run.remarks]
    found = [difference for measure in comparison.measures for difference in comparison.differences(measure)]
    intervals = sum(difference is not None and difference.interval is not None for difference in found)
    if intervals > 1:
        remarks.append(
            f"{intervals} intervals stand here, each of 95 %: about one in twenty leaves out 0 by luck alone, so "
            "a single one among many is a reason for more seeds, not for a conclusion."
        )
    return tuple(remarks)
