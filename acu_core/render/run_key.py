"""Which of several runs stands where, and what of it is shown though it was not recorded at this iteration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.text import Text

from acu_core.render.colours import Colour
from acu_core.render.frame_schedule import FrameSchedule
from acu_core.render.layer_names import short_names
from acu_core.render.layout import MARGIN, TEXT_SIZE
from acu_core.render.legend import dots
from acu_core.render.moving_figure import MovingFigure, drawable, text_width
from acu_core.render.recording import Recording

_SIZE = 9.5
_DOT = 9.0
_GAP = 0.07
_BETWEEN = 0.3
_LETTERS = 36
_PLACES = {2: ("left", "right"), 3: ("left", "middle", "right"), 4: ("first", "second", "third", "fourth")}


class RunKey:
    """A name for each of 2 to 4 recordings, in as many lines as that takes, with a dot of its colour.

    After the name stands what is true of the frame: that the run has ended before it, begins after it, or was not
    recorded then.
    """

    def __init__(self, schedule: FrameSchedule, recordings: Sequence[Recording], room: float) -> None:
        self._iterations, self._recordings = schedule.at_moments(), recordings
        names = [drawable(recording.title) for recording in recordings]
        different = list(dict.fromkeys(names))
        shown = dict(zip(different, short_names(different, _LETTERS), strict=True))
        self._names = [shown[name] for name in names]
        self._states: list[Text] = []
        # Evenly over the width, so that the lines make columns.
        count = len(recordings)
        widest = max(map(self._width, range(count))) + _BETWEEN
        fitting = max(1, min(count, int((room + _BETWEEN) / widest)))
        self.lines = math.ceil(count / fitting)
        """How many lines the key takes."""
        self._columns = math.ceil(count / self.lines)

    def add_to(self, figure: MovingFigure, baselines: Sequence[float], colours: Sequence[Colour] | None) -> None:
        """Draws the key on lines at these heights; without colours, without dots."""
        step = (figure.width - 2 * MARGIN) / self._columns
        for number in range(len(self._recordings)):
            line, column = divmod(number, self._columns)
            left, baseline = MARGIN + column * step, baselines[line]
            if colours:
                mark = dots([_DOT], colours[number], "")
                mark.draw(figure, left, baseline + 0.045)
                left += mark.width + _GAP
            words = (
                (f"{self._place(number)}:", "normal", figure.theme.muted),
                (
                    self._names[number],
                    "bold",
                    figure.theme.ink,
                ),
            )
            for content, weight, colour in words:
                figure.add_text(left, baseline, content, size=_SIZE, color=colour, fontweight=weight)
                left += text_width(content, _SIZE, bold=weight == "bold") + _GAP
            state = figure.add_text(left, baseline, "", size=TEXT_SIZE, color=figure.theme.muted)
            self._states.append(state)
            figure.moving.append(state)

    def show(self, moment: int) -> None:
        """Sets the key to one moment of the schedule."""
        for recording, text in zip(self._recordings, self._states, strict=True):
            text.set_text(self._state(recording, float(self._iterations[moment])))

    def _place(self, number: int) -> str:
        return _PLACES[len(self._recordings)][number]

    def _width(self, number: int) -> float:
        recording = self._recordings[number]
        longest = max(text_width(state, TEXT_SIZE) for state in (_ended(recording), _begins(recording), "interpolated"))
        names = text_width(self._place(number) + ":", _SIZE) + text_width(self._names[number], _SIZE, bold=True)
        return _DOT / 72 + 3 * _GAP + names + longest

    @staticmethod
    def _state(recording: Recording, now: float) -> str:
        if now > recording.iterations[-1]:
            return _ended(recording)
        if now < recording.iterations[0]:
            return _begins(recording)
        recorded = recording.iterations[int(np.searchsorted(recording.iterations, now))] == now
        return "" if recorded else "interpolated"


def _ended(recording: Recording) -> str:
    return f"ended at {int(recording.iterations[-1]):,}"


def _begins(recording: Recording) -> str:
    return f"begins at {int(recording.iterations[0]):,}"
