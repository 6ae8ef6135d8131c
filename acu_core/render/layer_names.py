"""How layers are called in little room, and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_NUMBERED = re.compile(r"([A-Za-z]+)_?(\d+)")
_WITHIN_A_STAGE = re.compile(r"(?<=\d)[_-]\d+$")


def short_names(names: Sequence[str], letters: int) -> list[str]:
    """Each of the different `names` in at most `letters` letters, shortened in the middle; all stay different.

    Parts that tell no layer from another go first (`stage1.blocks.0.body.conv2` is `stage1…0…conv2`), then letters
    from the middle, or of words before a number all but the first (`s1…0…c2`). Where that would leave two layers one
    name, the layers are numbered. At least 6 letters are used.
    """
    letters = max(6, letters)
    if all(len(name) <= letters for name in names):
        return list(names)
    fewer = _without_common_parts(names)
    for longer in (fewer, _with_initials(fewer, letters), list(names)):
        # As near to the middle as the names stay different: the beginning says where a layer is, the end what it is.
        for head in sorted(range(1, letters - 1), key=lambda head: abs(2 * head + 1 - letters)):
            shortened = [_cut(name, letters, head) for name in longer]
            if len(set(shortened)) == len(names):
                return shortened
    digits = len(str(len(names)))
    return [f"{number:0{digits}d}{_cut(name, letters - digits, 0)}" for number, name in enumerate(names, start=1)]


def _with_initials(names: Sequence[str], letters: int) -> list[str]:
    """Names that are too long with one letter for each word that a number follows: `block_12` is `b12`."""
    return [name if len(name) <= letters else _NUMBERED.sub(lambda m: m[1][0] + m[2], name) for name in names]


def stages(names: Sequence[str]) -> list[list[str]]:
    """The names in their order, cut into stages: neighbours that share the first part by which names differ.

    `("stem", "layer1.0.a", "layer1.1.a", "layer2.0.a")` is three stages; names without parts are one. Of a part with
    two numbers, `block1_2`, the first is the stage's.
    """
    parts = [name.split(".") for name in names]
    depth = 0
    while all(len(part) > depth + 1 for part in parts) and len({part[depth] for part in parts}) == 1:
        depth += 1
    found: list[list[str]] = []
    before: str | None = None
    for name, part in zip(names, parts, strict=True):
        # A last part is the layer's own name, not that of what it belongs to.
        stage = _WITHIN_A_STAGE.sub("", part[depth]) if len(part) > depth + 1 else ""
        if stage != before:
            found.append([])
        before = stage
        found[-1].append(name)
    return found


def _without_common_parts(names: Sequence[str]) -> list[str]:
    """Names without their inner parts that are the same in all names of as many parts."""
    alike: dict[int, list[list[str]]] = {}
    for name in names:
        parts = name.split(".")
        alike.setdefault(len(parts), []).append(parts)
    found = []
    for name in names:
        parts = name.split(".")
        text = parts[0]
        for depth, part in enumerate(parts[1:], start=1):
            inner = depth < len(parts) - 1
            if inner and len({other[depth] for other in alike[len(parts)]}) == 1:
                text += "" if text.endswith(ELLIPSIS) else ELLIPSIS
            else:
                text += part if text.endswith(ELLIPSIS) else f".{part}"
        found.append(text)
    return found if len(set(found)) == len(names) else list(names)


def _cut(name: str, letters: int, head: int) -> str:
    if len(name) <= letters:
        return name
    tail = letters - head - 1
    front, back = name[:head].rstrip(f".{ELLIPSIS}"), name[-tail:].lstrip(f".{ELLIPSIS}") if tail > 0 else ""
    return f"{front}{ELLIPSIS}{back}"
