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
            found += [_variable(f"group-{number}", colour) for number, colour in enumerate(value)]
        elif not isinstance(value, str):
            found.append(_variable(field.name.replace("_", "-"), value))
    return " ".join(found)


def _variable(name: str, colour: Colour) -> str:
    return f"--{name}: #{''.join(f'{round(255 * part):02x}' for part in colour)};"
