"""The page of a run, or of a file of positions: written as one file."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import metadata
from pathlib import Path

import numpy as np

from acu_core.durable import write_durably
from acu_core.errors import UserError
from acu_core.render.recording import Warn, load_recording, python_warning
from acu_core.report import page_text
from acu_core.report.packed_recording import pack
from acu_core.report.page_data import page_data, script_json
from acu_core.report.run_facts import RunFacts
from acu_core.report.theme_style import theme_style
from acu_core.report.training_loss import TrainingLoss
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_selection import check_not_source

SUFFIX = ".html"
# In this order: one that begins the page is the last.
_SCRIPTS = ("words.js", "unpack.js", "recording.js", "panel.js", "curve.js", "numbers.js", "page.js", "begin.js")


@dataclass(frozen=True)
class PageReport:
    """What was written. `position_error` is the largest one at any snapshot, in input pixels; `norm_error` a share."""

    path: Path
    bytes: int
    snapshots: int
    first: int
    last: int
    position_error: float
    norm_error: float


def default_page(source: str | os.PathLike[str]) -> Path:
    """Where the page of a run goes when nobody says: figures/report.html in it, or beside a lone positions.bin."""
    path = Path(source)
    return path.with_suffix(SUFFIX) if path.is_file() else RunDirectory.open(path).figures / f"report{SUFFIX}"


def write_page(
    source: RunDirectory | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    first: int | None = None,
    last: int | None = None,
    layers: Sequence[str] | None = None,
    title: str | None = None,
    warn: Warn = python_warning,
) -> PageReport:
    """Writes the page of a run, or of a `positions.bin`, into `output`: one HTML file that needs no other.

    Args:
        source: a run or a snapshot file; the run may still be going on, and its page says how far it was.
        output: a name that ends with .html.
        first: iteration to begin with.
        last: iteration to end with, included.
        layers: names, or patterns with `*`; None takes all.
        title: stands over the page; None takes the name of the run's directory or the file.
        warn: told what of the run is damaged and was left out; by default a warning of Python's.

    Raises:
        UserError: for what is no run, has nothing to show, or cannot be written. The file at `output` is then as it
            was before.
    """
    path = Path(output)
    if path.suffix.lower() != SUFFIX:
        raise UserError(f"{path} must end with {SUFFIX}: it becomes a page")
    if path.is_dir():
        raise UserError(f"{path} is a directory: give a file's name")
    check_not_source(path, source)
    recording = load_recording(source, first=first, last=last, layers=layers, warn=warn)
    facts = RunFacts.of(source, warn)
    begin, end = int(recording.iterations[0]), int(recording.iterations[-1])
    loss = None if facts.metrics is None else TrainingLoss.of(facts.metrics.training, begin, end)
    packed = pack(recording)
    data = page_data(recording, packed, loss)
    curve = recording.curve
    errors = 0 if curve is None else int(np.sum((curve.iterations >= begin) & (curve.iterations <= end)))
    curves, figures = page_text.curves(errors, loss), page_text.figures(recording, packed, facts)
    version = _version()
    script, style = _script(), theme_style() + _part("page.css")
    text = _fill(
        _part("page.html"),
        title=escape(recording.title if title is None else title),
        description=escape(facts.description),
        version=escape(version),
        script_hash=_hash(script),
        style_hash=_hash(style),
        style=style,
        # A part that was asked for is no unfinished run.
        status=page_text.status(recording, facts) if last is None else "",
        figures=figures if curves else "",
        columns=str(page_text.columns(list(recording.positions))),
        panels=page_text.panels(recording),
        legend=page_text.legend(recording),
        # Without curves their place would stay empty.
        aside="Curves of the training" if curves else "The run in numbers",
        curves=curves or figures,
        details=page_text.details(facts),
        note=page_text.note(packed, version),
        recording=script_json(data),
        script=script,
    )
    # A directory's name may hold bytes that are no text.
    content = text.encode(errors="replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, lambda file: file.write(content))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return PageReport(
        path,
        len(content),
        len(recording.iterations),
        begin,
        end,
        packed.position_error,
        packed.norm_error,
    )


def _version() -> str:
    try:
        return metadata.version("active-convolution")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _fill(template: str, **parts: str) -> str:
    # In one pass: what is put in may itself hold what looks like a place.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)


def _script() -> str:
    # One scope of their own: a page that somebody puts this into keeps its names.
    return '"use strict";\n(() => {\n' + "\n".join(_part(name) for name in _SCRIPTS) + "})();\n"


def _part(name: str) -> str:
    # Not importlib.resources: the package holds compiled code, so it is always a plain folder.
    return (Path(__file__).resolve().parent / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page's policy knows its own script and style by: no other one runs, wherever it came from."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
