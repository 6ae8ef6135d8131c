"""What is meant for the person who uses acu: the one exception and what would put it right, and the one warning."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Action(enum.Enum):
    """What somebody can do about an error. The library names it; whoever shows the error words it.

    The value says what `Remedy.subject` is, and what to do.
    """

    RESUME = "a run: train it on"
    EXTEND = "a run: change its schedule as it is trained on"
    CHANGE = "a run: change what may be changed of its recipe as it is trained on"
    TRAIN = "a recipe: train it first"
    ROUND = "a run: round its positions and fine-tune it"
    START_ANEW = "a run: delete it and start it again"
    CHOOSE_OUT = "a directory that is taken: choose another one"
    NAME_DATA = "a data set: say where it lies"
    DOWNLOAD = "a data set: say where it lies, or let it be downloaded"
    CHOOSE_DEVICE = "a device that is not there: choose another one"
    LIST_RECIPES = "recipes: see which there are"
    CHECK_INSTALLATION = "the installation: see what is missing"
    SAY_ITERATION = "a file: say of which iteration it is"
    SAY_ITERATIONS = "a run: say how many iterations to fine-tune"
    SET_KEY = "a recipe's key: set it"
    SKIP_BROKEN = "images that cannot be read: let them be left out"
    SAME_DATA = "a run: use the data set that it was trained on"
    SAME_SCALE = "a run: use the scale that it was trained with"
    SHORTEN = "the last good iteration: draw the part up to it"
    DRAW_FILE = "a file of recorded shapes: draw it"
    DRAW_SHAPES = "what cannot be drawn otherwise: draw its shapes"


@dataclass(frozen=True)
class Remedy:
    """An action and what it is about: a run's path, a recipe's name, ... as `Action` says."""

    action: Action
    subject: str = ""


class UserError(ValueError):
    """Something that the user can put right. Its message says in one sentence what is wrong.

    The message stands alone for a caller of the library, who can catch it as a `ValueError`; it names no command and
    no option. `remedies` are what would help, for the command line to put into its own words. The command line prints
    both and exits with status 2.
    """

    def __init__(self, message: str, *remedies: Remedy) -> None:
        super().__init__(message)
        self.remedies = remedies


class Notice(RuntimeWarning):
    """A warning of Python's whose message is a sentence for the user, from where nobody listens but Python.

    A command line shows it as it shows its own warnings, without a place in the code.
    """
