"""The only place that prints: results on standard output, progress, warnings and errors on standard error.

On a terminal Rich draws; elsewhere plain lines are written, without control characters.
"""

from __future__ import annotations

import contextlib
import json as json_module
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

PLAIN_SECONDS = 5.0
"""Seconds between two progress lines where there is no terminal."""
FIRST_SECONDS = 1.5
"""Seconds to the first of them that shows how fast the work goes."""


def print(text: str = "", *, style: str | None = None) -> None:
    """One line of result on standard output; `style` is Rich's and only seen on a terminal."""
    if style and sys.stdout.isatty():
        from rich.console import Console

        Console(file=sys.stdout, highlight=False).print(text, style=style, markup=False, soft_wrap=True)
    else:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def is_live(stream: TextIO) -> bool:
    """Whether pictures that change can be shown there: a terminal that knows more than lines."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def width() -> int:
    """Characters in a line of the terminal; 80 where there is none."""
    return max(20, shutil.get_terminal_size().columns)


def names(text: str | None) -> list[str] | None:
    """The names of an option that takes several, with commas between."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def error(text: str, *, message: str | None = None, remedies: Sequence[str] = ()) -> None:
    """One sentence about what went wrong, on standard error; `message` and `remedies` are its two halves."""
    _asked.failure = {"message": text if message is None else message, "remedies": list(remedies)}
    _mark("error", text, "bold red")


def warning(text: str) -> None:
    """One sentence that the user should read although the work goes on, on standard error."""
    _mark("warning", text, "bold yellow")


def note(text: str) -> None:
    """What is being done at the moment, on standard error, so that it never mixes with results."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class _Asked:
    """What the command line asked for, and what came of it so far."""

    command = ""
    printed = False
    failure: dict[str, object] | None = None


_asked = _Asked()


def expect_json(command: str) -> None:
    """From here on, JSON is that of `command`."""
    _asked.command, _asked.printed, _asked.failure = command, False, None


def expects_json() -> bool:
    """Whether the command was asked for JSON."""
    return bool(_asked.command)


def has_printed_json() -> bool:
    """Whether the command has printed its object."""
    return _asked.printed


def leave_json_to_another() -> None:
    """Another process that does the work of this command has printed its object."""
    _asked.printed = True


def failure() -> dict[str, object] | None:
    """The last error that was told, as plain values."""
    return _asked.failure


def json(values: Mapping[str, object]) -> None:
    """`values`, after the command's name, as one strict JSON object on standard output.

    A NaN in a report would break every other reader, so it is refused. What the names mean stands in docs/json.md.
    """
    head = {"command": _asked.command} if _asked.command else {}
    print(json_module.dumps({**head, **values}, indent=2, allow_nan=False))
    _asked.printed = True


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """A table on standard output: Rich's on a terminal, aligned columns elsewhere."""
    texts = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        drawn = Table(title=title, title_justify="left")
        for column in columns:
            drawn.add_column(column, overflow="fold")
        for row in texts:
            drawn.add_row(*(escape(cell) for cell in row))
        Console(file=sys.stdout).print(drawn)
        return
    if title:
        print(title)
    widths = [max(len(row[i]) for row in [list(columns), *texts]) for i in range(len(columns))]
    for row in [list(columns), *texts]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def show_cursor() -> None:
    """Puts the terminal's cursor back where a process that was killed had hidden it."""
    if is_live(sys.stderr):
        sys.stderr.write("\x1b[?25h")
        sys.stderr.flush()


class Progress(Protocol):
    """What `progress` hands out."""

    def update(self, done: int, *, total: int | None = None, **fields: str) -> None:
        """`done` of the total (of another one from now on, if given) is done; `fields` are shown as `name value`."""

    def describe(self, description: str) -> None:
        """Changes the words before the bar."""

    def part(self, name: str, done: int, total: int, **fields: str) -> None:
        """Shows a part of the work that goes on beside others; one that is shown already moves."""

    def end_part(self, name: str) -> None:
        """Shows it no more."""


@contextlib.contextmanager
def progress(total: int, description: str, *, unit: str = "it", done: int = 0) -> Iterator[Progress]:
    """Shows the work on standard error: a bar on a terminal, else a plain line every few seconds.

    `done` is what an earlier process did already: it fills the bar but does not count as speed.
    """
    if sys.stderr.isatty():
        shown: _Bar | _Lines = _Bar(total, description, unit, done)
    else:
        shown = _Lines(total, description, unit, done)
    with shown:
        yield shown


class _Speed:
    """Units a second: recent work weighs more, so that a change of pace shows within half a minute."""

    def __init__(self, done: int) -> None:
        self._samples = [(time.monotonic(), done)]

    def add(self, done: int) -> None:
        now = time.monotonic()
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] > 30.0:
            self._samples.pop(0)

    def value(self) -> float | None:
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        return (after - before) / (last - first) if last > first and after > before else None


def _texts(done: int, total: int, unit: str, speed: float | None, fields: dict[str, str]) -> list[str]:
    texts = [f"{name.replace('_', ' ')} {value}" for name, value in fields.items()]
    if speed is not None:
        texts.append(f"{speed:.1f} {unit}/s")
        texts.append(f"{duration((total - done) / speed)} left")
    return texts


class _Lines:
    def __init__(self, total: int, description: str, unit: str, done: int) -> None:
        self._total, self._description, self._unit, self._done = total, description, unit, done
        self._speed = _Speed(done)
        self._fields: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self._printed = time.monotonic()
        self._printed_done: int | None = None
        self._wait = FIRST_SECONDS

    def __enter__(self) -> _Lines:
        # At once: the first step may take long, and what is to be done is known.
        self._write()
        self._wait = FIRST_SECONDS
        return self

    def __exit__(self, *_: object) -> None:
        if self._printed_done is not None and self._printed_done != self._done:
            self._write()

    def update(self, done: int, *, total: int | None = None, **fields: str) -> None:
        self._done, self._fields = done, fields
        self._total = self._total if total is None else total
        self._speed.add(done)
        if time.monotonic() - self._printed >= self._wait:
            self._write()

    def describe(self, description: str) -> None:
        self._description = description

    def part(self, name: str, done: int, total: int, **fields: str) -> None:
        self._parts[name] = f"{name} {done}/{total}"

    def end_part(self, name: str) -> None:
        self._parts.pop(name, None)

    def _write(self) -> None:
        share = 100 * self._done // max(1, self._total)
        parts = _texts(self._done, self._total, self._unit, self._speed.value(), self._fields)
        if self._parts:
            parts.append("; ".join(self._parts.values()))
        head = f"{self._description} {self._done}/{self._total} ({share} %)"
        note("  ".join([head, *parts]).strip())
        self._printed, self._printed_done = time.monotonic(), self._done
        self._wait = PLAIN_SECONDS


class _Bar:
    def __init__(self, total: int, description: str, unit: str, done: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._total, self._unit = total, unit
        self._speed = _Speed(done)
        self._rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=Console(file=sys.stderr),
        )
        self._task = self._rich.add_task(description, total=total, completed=done, figures="")
        self._parts: dict[str, TaskID] = {}

    def __enter__(self) -> _Bar:
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()

    def update(self, done: int, *, total: int | None = None, **fields: str) -> None:
        self._total = self._total if total is None else total
        self._speed.add(done)
        figures = "  ".join(_texts(done, self._total, self._unit, self._speed.value(), fields))
        self._rich.update(self._task, completed=done, total=self._total, figures=figures)

    def describe(self, description: str) -> None:
        self._rich.update(self._task, description=description)

    def part(self, name: str, done: int, total: int, **fields: str) -> None:
        if name not in self._parts:
            self._parts[name] = self._rich.add_task(f"  {name}", total=total, figures="")
        figures = "  ".join(f"{key} {value}" for key, value in fields.items())
        self._rich.update(self._parts[name], completed=done, total=total, figures=figures)

    def end_part(self, name: str) -> None:
        if name in self._parts:
            self._rich.remove_task(self._parts.pop(name))


def _mark(word: str, text: str, style: str) -> None:
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        line: Any = Text.assemble((f"{word}: ", style), text)
        Console(file=sys.stderr, highlight=False).print(line, soft_wrap=True)
    else:
        note(f"{word}: {text}")
