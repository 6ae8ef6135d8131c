"""The pictures' themes as CSS variables, so that a page and a picture of one run look alike."""

from __future__ import annotations

from dataclasses import fields

from acu_core.render.colours import DARK, LIGHT, Colour, Theme


def theme_style() -> str:
    """The rules: dark where the reader's system is, unless the page was told otherwise (`data-theme`)."""
    dark = _variables(DARK)
    return (
        f":root {{{_variables(LIGHT)}}}\n"
        f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{{dark}}} }}\n'
        f':root[data-theme="dark"] {{{dark}}}\n'
    )


def _variables(theme: Theme) -> str:
    found: list[str] = []
    for field in fields(theme):
        value = getattr(theme, field.name)
        if field.name == "groups":
            found += [f"--group-{number}: {_code(colour)};" for number, colour in enumerate(value)]
        elif not isinstance(value, str):
            found.append(f"--{field.name.replace('_', '-')}: {_code(value)};")
    return " ".join(found)


def _code(colour: Colour) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)
