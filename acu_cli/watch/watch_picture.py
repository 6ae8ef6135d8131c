"""The whole page: where the run stands, its shapes, its curves."""

from __future__ import annotations

import bisect
import fnmatch
import time
from collections.abc import Sequence

from acu_cli.shell_words import quoted
from acu_cli.terminal import duration
from acu_cli.watch.condition import Condition
from acu_cli.watch.curve_panel import PERCENT, binned, dots_across, joined, put_curve
from acu_cli.watch.followed_run import FollowedRun
from acu_cli.watch.page import Page, Style, first_that_fits, one_column, shortened
from acu_cli.watch.panel_grid import PanelGrid
from acu_cli.watch.playback import Playback
from acu_cli.watch.shape_panels import ASCII_MARKS, ShapePanels, layer_parts, movement
from acu_cli.watch.training_log import TrainingLog
from acu_core.errors import UserError
from acu_core.render.layer_names import short_names

_HEAD = 4
_CHOOSE_SECONDS = 20.0
_CURVE_ROWS = 4
_CURVE_SECONDS = 2.0
_NARROWEST_CURVE = 26
_BESIDE = 1.3
"""Curves stand beside the shapes where those become so much larger by it."""

_LEGEND = {
    Style.SYNAPSE: "\u25cf",
    Style.TRAIL: "\u22ef",
    Style.START: "\u25cb",
    Style.HIDDEN: "\u25cb",
    Style.GRID: "\u283f",
}
_ASCII_LEGEND = {**ASCII_MARKS, Style.TRAIL: " "}
_WORDS = {
    Style.SYNAPSE: "synapse",
    Style.TRAIL: "its path",
    Style.START: "its start",
    Style.HIDDEN: "hidden shape",
    Style.GRID: "pixels",
}


class WatchPicture:
    """Draws a run as it is; `patterns` choose the layers, `message` is a line at its foot.

    `way_out` says how one leaves the view, where it is one. Where there is little room, words give way and no number is
    cut.
    """

    def __init__(self, run: FollowedRun, patterns: Sequence[str] | None = None) -> None:
        self.run = run
        self.playback = Playback(run.snapshots)
        self.message = self.way_out = ""
        self._patterns = patterns
        self._panels: ShapePanels | None = None
        self._panels_key: object = None
        self._curves: Page | None = None
        self._curves_key: object = None
        self._curve_losses = 0
        self._curves_at = -_CURVE_SECONDS
        self._titles_key: object = None
        self._titled: dict[int, str] = {}
        self._ranked: list[int] = []
        self._chosen_at = -_CHOOSE_SECONDS

    def restart(self) -> None:
        """The snapshots begin again."""
        self.playback.restart()
        self._panels_key = None

    def draw(self, rows: int, columns: int, *, ascii_only: bool = False) -> Page:
        """The page as it is now. Raises UserError for patterns that no layer matches."""
        page = Page(rows, columns, ascii_only=ascii_only)
        self._put_head(page)
        self._put_foot(page)
        room = rows - _HEAD - 1
        if self.playback.iteration is None:
            self._put_waiting(page)
            return page
        chosen = self.chosen()
        if not chosen:
            text = "This network has ordinary convolutions only: no shapes to show."
            page.put(_HEAD, 0, shortened(text, columns), Style.MUTED)
            self._put_curves(page, _HEAD + 2, 0, room - 2, columns, stacked=False)
            return page
        below = room - (_CURVE_ROWS + 2 if room < 30 else 2 * _CURVE_ROWS + 2)
        beside = columns - max(_NARROWEST_CURVE, columns // 3) - 2
        grid = PanelGrid.fit(len(chosen), below, columns)
        tall = PanelGrid.fit(len(chosen), room, beside)
        if tall is not None and (
            grid is None or tall.count > grid.count or (tall.count == grid.count and tall.side > _BESIDE * grid.side)
        ):
            self._put_shapes(page, tall, chosen, beside, room)
            self._put_curves(page, _HEAD, beside + 2, room, columns - beside - 2, stacked=True)
        elif grid is not None:
            self._put_shapes(page, grid, chosen, columns, below)
            first = _HEAD + grid.height + max(0, min(1, below - grid.height))
            self._put_curves(page, first, 0, rows - 1 - first, columns, stacked=False)
        else:
            self._put_curves(page, _HEAD, 0, room, columns, stacked=False)
            if _is_empty(page, rows - 1):
                texts = ("The shapes need a larger terminal", "Too small for shapes", "no shapes")
                page.put(rows - 1, 0, first_that_fits(columns, texts), Style.MUTED)
        return page

    def chosen(self) -> list[int]:
        """The layers to be shown, by their numbers. Raises UserError for a pattern that matches none."""
        names = [layer.name for layer in self.run.snapshots.layers]
        if self._patterns is None:
            return list(range(len(names)))
        for pattern in self._patterns:
            if names and not fnmatch.filter(names, pattern):
                raise UserError(f"no layer is called {pattern!r}: the run has {', '.join(names)}")
        return [
            number
            for number, name in enumerate(names)
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)
        ]

    def _put_head(self, page: Page) -> None:
        run = self.run
        condition = run.condition
        words = {Condition.WAITING: "waiting", Condition.FINISHED: "finished", Condition.STOPPED: "stopped"}
        text = words.get(condition) or ("training its frozen twin" if run.trains_twin else "training")
        name = one_column(run.name)
        room = max(1, page.columns - len(text) - 2)
        page.put(0, 0, name if len(name) <= room else name[: room - 1] + "\N{HORIZONTAL ELLIPSIS}", Style.STRONG)
        good = condition in (Condition.TRAINING, Condition.FINISHED)
        page.put_right(0, page.columns, text, Style.GOOD if good else Style.WARNING)
        iteration = self.playback.iteration if self.playback.iteration is not None else run.iteration
        self._put_progress(page, iteration)
        self._put_bar(page, iteration)
        room = page.columns
        if 2 + len(self.way_out) <= room:
            page.put_right(3, room, self.way_out, Style.MUTED)
            room -= len(self.way_out) + (2 if self.way_out else 0)
        if condition is Condition.STOPPED:
            command = f"`acu train --resume {quoted(run.directory.path)}`"
            # A path that was cut would be another one.
            texts = (
                f"Go on with it by {command}",
                f"Go on: {command}",
                command,
                "Go on by `acu train --resume`",
            )
            page.put(3, 0, first_that_fits(room, texts), Style.MUTED)

    def _put_progress(self, page: Page, iteration: int) -> None:
        """How far it is, in as many figures as have room."""
        word, number, end = "iteration ", f"{iteration:,}", f" of {self.run.plan.iterations:,}"
        phase, speed, left = self._figures(iteration)
        gap = "   "
        for shown in ((phase, speed, left), (speed, left), (left,), ()):
            figures = "".join(gap + figure for figure in shown if figure)
            if len(word + number + end + figures) <= page.columns:
                break
        else:
            word, figures = "", ""
            end = first_that_fits(page.columns - len(number), (end,))
        column = page.put(1, 0, word, Style.MUTED)
        if column + len(number) > page.columns:
            return
        column = page.put(1, column, number, Style.STRONG)
        page.put(1, page.put(1, column, end, Style.MUTED), figures)

    def _figures(self, iteration: int) -> tuple[str, str, str]:
        """What it does, how fast, and how long still; empty where that is not known."""
        run = self.run
        phase = ""
        if run.trains_twin and run.twin is not None:
            phase = f"twin {run.twin.iteration:,}"
        elif iteration < run.plan.iterations or run.condition is not Condition.FINISHED:
            phase = "warm-up" if iteration < run.plan.warm_up else "learning shapes"
        speed, left = run.speed, run.seconds_left
        if speed is None or left is None:
            return phase, "", ""
        return phase, f"{speed:.1f} it/s", f"{duration(left)} left"

    def _put_bar(self, page: Page, iteration: int) -> None:
        plan, columns = self.run.plan, page.columns
        done, rest, mark = ("=", "-", "|") if page.ascii_only else ("\u2501", "\u2500", "\u253c")

        def place(reached: int) -> int:
            return min(columns, round(columns * reached / max(1, plan.iterations)))

        page.put(2, 0, rest * columns, Style.MUTED)
        page.put(2, 0, done * place(min(iteration, plan.warm_up)), Style.WARM_UP)
        begin = place(min(iteration, plan.warm_up))
        page.put(2, begin, done * (place(iteration) - begin), Style.DONE)
        for division in plan.divisions:
            if 0 < place(division) < columns and place(division) >= place(iteration):
                page.put(2, place(division), mark, Style.MUTED)

    def _put_waiting(self, page: Page) -> None:
        run = self.run
        if run.snapshots.has_begun or run.is_locked:
            text = "Waiting for the first iteration ..."
        else:
            text = "Waiting for its training to begin ..."
        page.put(_HEAD, 0, shortened(text, page.columns), Style.MUTED)

    def _put_foot(self, page: Page) -> None:
        row, problems = page.rows - 1, self.run.problems
        if problems:
            page.put(row, 0, shortened(f"warning: {problems[0]}", page.columns), Style.WARNING)
        elif self.message:
            page.put(row, 0, shortened(self.message, page.columns))

    def _put_legend(self, page: Page, shown: int, chosen: int) -> None:
        """What the marks mean, and which layers are not there; where the foot has nothing more urgent to say."""
        row = page.rows - 1
        if not _is_empty(page, row):
            return
        text, count = "", f"{shown} of {chosen} layers"
        if shown < chosen:
            most = f"{count}, those that moved most"
            text = first_that_fits(page.columns, (f"{most}; others by --layers", most, count))
        page.put_right(row, page.columns, text, Style.MUTED)
        marks = _ASCII_LEGEND if page.ascii_only else _LEGEND
        column = 0
        for style, word in _WORDS.items():
            if style is Style.HIDDEN and self.run.snapshots.facts.hidden is None:
                continue
            if column + 2 + len(word) + 2 + len(text) > page.columns:
                return
            page.put(row, column, marks[style], style)
            column = page.put(row, column + 2, word, Style.MUTED) + 2

    def _put_shapes(self, page: Page, grid: PanelGrid, chosen: list[int], width: int, height: int) -> None:
        playback, layers = self.playback, self.run.snapshots.layers
        parts = layer_parts(layers)
        moved = movement(playback.positions[-1], playback.positions[0], parts)
        shown = self._ranking(chosen, moved)[: grid.count]
        shown.sort()
        key = (grid, tuple(shown), page.ascii_only, layers)
        if key != self._panels_key or self._panels is None:
            self._panels_key = key
            self._panels = ShapePanels(
                layers,
                shown,
                self.run.snapshots.facts.hidden,
                rows=grid.rows,
                columns=grid.columns,
                ascii_only=page.ascii_only,
            )
        characters, styles = self._panels.draw(playback.positions, playback.version)
        used = grid.across * grid.pitch - (grid.pitch - grid.columns)
        left = max(0, (width - used) // 2)
        by_number = self._titles(chosen, grid.columns)
        for place, number in enumerate(shown):
            row, column = grid.place(place)
            row, column = row + _HEAD, column + left
            end = page.put(row, column, by_number[number], Style.STRONG)
            text = f"{moved[number]:.2f} px"
            if end - column + 1 + len(text) <= grid.columns:
                page.put_right(row, column + grid.columns, text, Style.MUTED)
            page.put_cells(row + 1, column, characters[place], styles[place])
        self._put_legend(page, len(shown), len(chosen))

    def _titles(self, chosen: list[int], letters: int) -> dict[int, str]:
        layers = self.run.snapshots.layers
        key = (tuple(chosen), letters, layers)
        if key != self._titles_key:
            names = short_names([one_column(layers[number].name) for number in chosen], letters)
            self._titles_key, self._titled = key, dict(zip(chosen, names, strict=True))
        return self._titled

    def _ranking(self, chosen: list[int], moved: list[float]) -> list[int]:
        """The layers that moved most first; kept for a while, so that panels do not change places all the time."""
        now = time.monotonic()
        if now - self._chosen_at > _CHOOSE_SECONDS or sorted(self._ranked) != chosen:
            self._chosen_at = now
            self._ranked = sorted(chosen, key=lambda number: (-round(moved[number], 2), number))
        return list(self._ranked)

    def _put_curves(self, page: Page, row: int, column: int, rows: int, columns: int, *, stacked: bool) -> None:
        log, errors = self._shown_log()
        key = (row, column, rows, columns, stacked, page.ascii_only, errors, id(log))
        now = time.monotonic()
        # A batch's loss moves a curve by less than a dot: every two seconds is enough while more are to come.
        is_due = now - self._curves_at >= _CURVE_SECONDS or self.run.condition is not Condition.TRAINING
        if self._curves is None or key != self._curves_key or (is_due and len(log.losses) != self._curve_losses):
            self._curves_key, self._curve_losses, self._curves_at = key, len(log.losses), now
            self._curves = Page(max(0, rows), max(0, columns), ascii_only=page.ascii_only)
            each = (rows // 2 - 1, columns) if stacked else (rows - 1, (columns - 3) // 2)
            places = ((0, 0), (rows // 2, 0) if stacked else (0, columns - each[1]))
            if each[0] >= 1 and each[1] >= 12:
                self._draw_curves(self._curves, places, each)
        page.put_cells(row, column, self._curves.characters, self._curves.styles)

    def _shown_log(self) -> tuple[TrainingLog, int]:
        """The log that the curves are of, and how many of its errors were known at the iteration that is shown."""
        run, shown = self.run, self.playback.iteration
        if run.trains_twin and run.twin is not None:
            return run.twin, len(run.twin.errors)
        # The log comes before the snapshots, and those are played one after the other.
        if shown is None or run.condition is not Condition.TRAINING:
            return run.log, len(run.log.errors)
        return run.log, bisect.bisect_right(run.log.evaluated, shown)

    def _draw_curves(self, page: Page, places: Sequence[tuple[int, int]], size: tuple[int, int]) -> None:
        log, known = self._shown_log()
        evaluated, errors = log.evaluated[:known], log.errors[:known]
        rows, columns = size
        (row, column), (other_row, other_column) = places
        bins, end = dots_across(columns), max(1, log.iteration)
        is_twin = self.run.trains_twin
        if log.loss is not None:
            number = first_that_fits(columns, (f"{log.loss:.4f}", f"{log.loss:.3g}"))
            labels = ("loss of the twin ", "twin's loss ") if is_twin else ()
            label = first_that_fits(columns - len(number), (*labels, "loss "))
            place = page.put(row, column, label, Style.MUTED)
            page.put(row, place, number, Style.LOSS)
            values = binned(log.steps, log.losses, end, bins)
            put_curve(page, row + 1, column, rows, columns, values, Style.LOSS, digits=2)
        if errors:
            number = f"{errors[-1]:.2f} %"
            labels = ("test error of the twin ", "twin's test error ") if is_twin else ()
            label = first_that_fits(columns - len(number), (*labels, "test error ", "error "))
            place = page.put(other_row, other_column, label, Style.MUTED)
            place = page.put(other_row, place, number, Style.ERROR)
            text = f"at {evaluated[-1]:,}"
            if place + 1 + len(text) <= other_column + columns:
                page.put(other_row, place + 1, text, Style.MUTED)
            values = joined(evaluated, errors, end, bins)
            put_curve(page, other_row + 1, other_column, rows, columns, values, Style.ERROR, digits=1, bounds=PERCENT)
        else:
            texts = ("no test error yet", "no error yet")
            page.put(other_row, other_column, first_that_fits(columns, texts), Style.MUTED)


def _is_empty(page: Page, row: int) -> bool:
    return not (page.characters[row] != ord(" ")).any()
