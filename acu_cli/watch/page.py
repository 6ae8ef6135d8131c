"""A page of characters, each in a style, and how it is written to a terminal: only what has changed."""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt


class Style(enum.IntEnum):
    """What a character is, which decides how it looks."""

    PLAIN = 0
    STRONG = enum.auto()
    MUTED = enum.auto()
    GRID = enum.auto()
    START = enum.auto()
    HIDDEN = enum.auto()
    TRAIL = enum.auto()
    SYNAPSE = enum.auto()
    LOSS = enum.auto()
    ERROR = enum.auto()
    DONE = enum.auto()
    WARM_UP = enum.auto()
    GOOD = enum.auto()
    WARNING = enum.auto()


# Colours between light and dark, readable on both: the 256 are the same everywhere, the sixteen are the reader's own.
_256 = {
    Style.STRONG: "1",
    Style.MUTED: "38;5;243",
    Style.GRID: "38;5;245",
    Style.START: "38;5;243",
    Style.HIDDEN: "38;5;32",
    Style.TRAIL: "38;5;173",
    Style.SYNAPSE: "1;38;5;166",
    Style.LOSS: "38;5;32",
    Style.ERROR: "38;5;166",
    Style.DONE: "38;5;166",
    Style.WARM_UP: "38;5;136",
    Style.GOOD: "1;38;5;29",
    Style.WARNING: "1;38;5;166",
}
_16 = {
    Style.STRONG: "1",
    Style.MUTED: "2",
    Style.GRID: "2",
    Style.START: "2",
    Style.HIDDEN: "36",
    Style.TRAIL: "2;31",
    Style.SYNAPSE: "1;31",
    Style.LOSS: "36",
    Style.ERROR: "31",
    Style.DONE: "31",
    Style.WARM_UP: "35",
    Style.GOOD: "1;32",
    Style.WARNING: "1;31",
}
_MONOCHROME = {
    Style.STRONG: "1",
    Style.MUTED: "2",
    Style.GRID: "2",
    Style.START: "2",
    Style.SYNAPSE: "1",
    Style.DONE: "1",
    Style.GOOD: "1",
    Style.WARNING: "1",
}
_GAP = 4


def palette(colours: str | None) -> Mapping[int, str]:
    """Attributes by style for what Rich calls a colour system; None has no colours."""
    chosen = _MONOCHROME if colours is None else _16 if colours in ("standard", "windows") else _256
    return {int(style): attributes for style, attributes in chosen.items()}


@lru_cache(maxsize=1024)
def one_column(text: str) -> str:
    """`text` with a question mark for every character that does not take exactly one column, or would be obeyed."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_one_column(character) else "?" for character in text)


def _is_one_column(character: str) -> bool:
    return (
        character.isprintable()
        and unicodedata.east_asian_width(character) not in "WF"
        and not unicodedata.combining(character)
    )


def first_that_fits(room: int, texts: Iterable[str]) -> str:
    """The first of the texts that is no longer than `room`, whole: a number that was cut would be another one."""
    return next((text for text in texts if len(text) <= room), "")


def shortened(text: str, room: int) -> str:
    """As many words of `text` as have room, and an ellipsis for the others."""
    if len(text) <= room:
        return text
    words = text[: max(0, room - 1)].rpartition(" ")[0]
    return f"{words} \N{HORIZONTAL ELLIPSIS}".lstrip()[:room]


class Page:
    """Characters (rows, columns) as code points, and their styles."""

    def __init__(self, rows: int, columns: int, *, ascii_only: bool = False) -> None:
        self.rows, self.columns, self.ascii_only = rows, columns, ascii_only
        self.characters: npt.NDArray[np.uint32] = np.full((rows, columns), ord(" "), np.uint32)
        self.styles: npt.NDArray[np.uint8] = np.zeros((rows, columns), np.uint8)

    def put(self, row: int, column: int, text: str, style: Style = Style.PLAIN) -> int:
        """Writes `text` from there on, as far as there is room; the column after it."""
        text = one_column(text)
        if self.ascii_only and not text.isascii():
            text = text.replace("\N{HORIZONTAL ELLIPSIS}", "~").encode("ascii", "replace").decode()
        if not 0 <= row < self.rows or column >= self.columns:
            return column
        text = text[: self.columns - column]
        self.characters[row, column : column + len(text)] = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        self.styles[row, column : column + len(text)] = style
        return column + len(text)

    def put_right(self, row: int, column: int, text: str, style: Style = Style.PLAIN) -> None:
        """Writes `text` so that it ends before `column`."""
        self.put(row, max(0, column - len(text)), text, style)

    def put_cells(
        self, row: int, column: int, characters: npt.NDArray[np.uint32], styles: npt.NDArray[np.uint8]
    ) -> None:
        """Writes a block (R, C) of characters, all of which must have room; blanks of it leave what is there."""
        rows, columns = characters.shape
        there = characters != ord(" ")
        self.characters[row : row + rows, column : column + columns][there] = characters[there]
        self.styles[row : row + rows, column : column + columns][there] = styles[there]

    def filled(self) -> Page:
        """This page with something else than any character everywhere: all that is drawn after it is a change."""
        self.characters[:] = 0
        return self

    def lines(self, attributes: Mapping[int, str] | None = None) -> list[str]:
        """The page as lines without blanks at their ends; with escape sequences where attributes are given."""
        found = []
        for row in range(self.rows):
            used = np.flatnonzero(self.characters[row] != ord(" "))
            length = int(used[-1]) + 1 if len(used) else 0
            if attributes is None:
                found.append(_text(self.characters[row, :length]))
            else:
                pieces, style = _styled(self.characters[row, :length], self.styles[row, :length], attributes, 0)
                found.append("".join(pieces) + ("\x1b[0m" if attributes.get(style) else ""))
        return found

    def changes(self, before: Page | None, attributes: Mapping[int, str]) -> str:
        """What turns a terminal that shows `before`, a page of this size, into this page; None is a cleared one."""
        if before is None:
            changed = (self.characters != ord(" ")) | (self.styles != 0)
        else:
            changed = (self.characters != before.characters) | (self.styles != before.styles)
        pieces: list[str] = []
        style = 0
        for row in np.flatnonzero(changed.any(axis=1)).tolist():
            for first, last in _stretches(np.flatnonzero(changed[row]).tolist()):
                pieces.append(f"\x1b[{row + 1};{first + 1}H")
                part = slice(first, last + 1)
                found, style = _styled(self.characters[row, part], self.styles[row, part], attributes, style)
                pieces += found
        if attributes.get(style):
            pieces.append("\x1b[0m")
        return "".join(pieces)


def _stretches(columns: list[int]) -> list[tuple[int, int]]:
    """First and last columns: to write a few unchanged characters is shorter than to move on."""
    found = [(columns[0], columns[0])]
    for column in columns[1:]:
        first, last = found[-1]
        if column - last > _GAP:
            found.append((column, column))
        else:
            found[-1] = first, column
    return found


def _styled(
    characters: npt.NDArray[np.uint32], styles: npt.NDArray[np.uint8], attributes: Mapping[int, str], style: int
) -> tuple[list[str], int]:
    """Text with the sequences that change the style, from `style` on; and the style at its end."""
    pieces: list[str] = []
    begin = 0
    ends = [*(np.flatnonzero(np.diff(styles)) + 1).tolist(), len(styles)] if len(styles) else []
    for end in ends:
        wanted = int(styles[begin])
        if attributes.get(wanted) != attributes.get(style):
            pieces.append(f"\x1b[0;{attributes[wanted]}m" if wanted in attributes else "\x1b[0m")
            style = wanted
        pieces.append(_text(characters[begin:end]))
        begin = end
    return pieces, style


def _text(characters: npt.NDArray[np.uint32]) -> str:
    return characters.astype("<u4").tobytes().decode("utf-32-le")
