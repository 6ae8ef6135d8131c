"""Which iteration is shown, how far each run is, its warm-up, the drops of its learning rate, and the pace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Polygon, Rectangle

from acu_core.render.colours import Colour
from acu_core.render.frame_schedule import FrameSchedule
from acu_core.render.layout import MARGIN, TEXT_SIZE, Place
from acu_core.render.legend import down
from acu_core.render.moving_figure import MovingFigure, text_width
from acu_core.render.recording import Recording

_COUNT_SIZE = 11.5
_SPACE = 0.06
_RECORDED, _BETWEEN = "iteration", "between"
_TICKS = 20
_TICK_HEIGHT = 0.035
_DROP_SIDE = 0.085
_BETWEEN_BARS = 0.02


class Timeline:
    """A bar for each recording, one below the other, over one axis of iterations.

    `place` is that of the bars, `count` the base line of the iteration above them. A recording alone is drawn in ink,
    several in `colours`. `room` is for the words that say the iteration.
    """

    def __init__(
        self,
        figure: MovingFigure,
        place: Place,
        count: float,
        schedule: FrameSchedule,
        recordings: Sequence[Recording],
        colours: Sequence[Colour],
        *,
        room: float,
    ) -> None:
        self._figure, self._schedule, self._recordings, self._room = figure, schedule, recordings, room
        self._iterations = schedule.at_moments()
        self._left, bottom, self._width, height = place
        theme = figure.theme
        several = len(recordings) > 1
        bar_height = (height - (len(recordings) - 1) * _BETWEEN_BARS) / len(recordings)
        self._bars: list[tuple[Rectangle, Rectangle]] = []
        for number, recording in enumerate(recordings):
            low = bottom + height - (number + 1) * bar_height - number * _BETWEEN_BARS
            first, last = self.across(recording.iterations[0]), self.across(recording.iterations[-1])
            warm = min(max(self.across(recording.warm_up), first), last)
            for start, end, colour in ((first, last, theme.track), (first, warm, theme.warm_up_track)):
                figure.add_patch(Rectangle((start, low), end - start, bar_height, color=colour, linewidth=0))
            pair = (
                Rectangle((first, low), 0, bar_height, color=theme.warm_up, linewidth=0),
                Rectangle((warm, low), 0, bar_height, color=colours[number] if several else theme.ink, linewidth=0),
            )
            for patch in pair:
                figure.add_patch(patch)
            self._bars.append(pair)
            figure.moving += pair
        for iteration in _drops(recordings, schedule):
            corners = down(self.across(iteration), bottom + height + 0.012, _DROP_SIDE)
            figure.add_patch(Polygon(corners, facecolor=theme.ink, edgecolor="none"))
        self.ticks: list[float] = []
        self._add_ticks(bottom)
        self._add_words(bottom)
        # Apart, so that only the number is drawn anew for every frame.
        self._words = {
            words: figure.add_text(MARGIN, count, words, size=_COUNT_SIZE, fontweight="bold")
            for words in (_RECORDED, _BETWEEN)
        }
        self._numbers = {}
        for words in self._words:
            left = MARGIN + text_width(words, _COUNT_SIZE, bold=True) + _SPACE
            self._numbers[words] = figure.add_text(left, count, "", size=_COUNT_SIZE, fontweight="bold")
        figure.moving += [*self._words.values(), *self._numbers.values()]

    def across(self, iteration: float) -> float:
        """Where an iteration stands, in inches from the left edge."""
        first, last = float(self._iterations[0]), float(self._iterations[-1])
        share = (iteration - first) / (last - first) if last > first else 1.0
        return self._left + share * self._width

    def show(self, moment: int) -> None:
        """Sets the bars and the words to one moment of the schedule."""
        now = float(self._iterations[moment])
        for recording, (warm, rest) in zip(self._recordings, self._bars, strict=True):
            reached = self.across(min(max(now, recording.iterations[0]), recording.iterations[-1]))
            warm.set_width(min(reached, rest.get_x()) - warm.get_x())
            rest.set_width(max(0.0, reached - rest.get_x()))
        words, number = self._iteration(moment)
        for name in self._words:
            self._words[name].set_text(words if name == words else "")
            self._numbers[name].set_text(number if name == words else "")

    def _iteration(self, moment: int) -> tuple[str, str]:
        before, after = self._schedule.neighbours(moment)
        if before == after:
            return _RECORDED, f"{before:,}"
        # Of several recordings each says for itself what it shows.
        note = "" if len(self._recordings) > 1 else ": interpolated"
        full = f"{before:,} and {after:,}{note}"
        room = self._room - text_width(_BETWEEN, _COUNT_SIZE, bold=True) - _SPACE
        # In the least room the numbers alone: "between" says already that this was not recorded.
        numbers = (full, f"{before:,}, {after:,}{note}", f"{before:,}, {after:,}")
        return _BETWEEN, next((n for n in numbers if text_width(n, _COUNT_SIZE, bold=True) < room), numbers[-1])

    def _add_ticks(self, bottom: float) -> None:
        """Ticks that the animation passes at equal times: close together where it takes its time."""
        frames = self._schedule.frames
        if len(frames) < 2:
            return
        chosen = frames[np.unique(np.linspace(0, len(frames) - 1, _TICKS + 1).round().astype(int))]
        top = bottom - 0.025
        self.ticks = [self.across(iteration) for iteration in self._iterations[chosen]]
        for x in self.ticks:
            self._figure.add_line([(x, top), (x, top - _TICK_HEIGHT)], self._figure.theme.muted, 0.8)

    def _add_words(self, bottom: float) -> None:
        theme = self._figure.theme
        base, right = bottom - 0.20, self._left + self._width
        last = f"{round(self._iterations[-1]):,}"
        self._figure.add_text(right, base, last, size=TEXT_SIZE, color=theme.muted, ha="right")
        left = self._left
        if any(recording.warm_up > self._iterations[0] for recording in self._recordings):
            words = "warm-up: positions wait"
            self._figure.add_text(left, base, words, size=TEXT_SIZE, color=theme.warm_up_text)
        else:
            words = f"{round(self._iterations[0]):,}"
            self._figure.add_text(left, base, words, size=TEXT_SIZE, color=theme.muted)
        if len(self._schedule.frames) > 1:
            # In the middle of what is left.
            start, end = left + text_width(words, TEXT_SIZE), right - text_width(last, TEXT_SIZE)
            pace = f"pace: {self._schedule.pace.value}"
            for text in (f"ticks: equal times of the animation; {pace}", pace):
                if text_width(text, TEXT_SIZE) < end - start - 0.2:
                    middle = (start + end) / 2
                    self._figure.add_text(middle, base, text, size=TEXT_SIZE, color=theme.muted, ha="center")
                    break


def _drops(recordings: Sequence[Recording], schedule: FrameSchedule) -> list[int]:
    first, last = schedule.iterations[0], schedule.iterations[-1]
    found = {int(drop) for recording in recordings if recording.curve for drop in recording.curve.drops}
    return sorted(drop for drop in found if first <= drop <= last)
