from __future__ import annotations

import itertools

import numpy as np
import pytest

from acu_core.render.colours import LIGHT, THEMES, Colour, Theme

# Machado, Oliveira & Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009),
# severity 1, on linear RGB.
VISION = {
    "all three": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
# CIE76 in Lab: 2.3 is a just noticeable difference.
APART = 15.0


def linear(colour: Colour) -> np.ndarray:
    values = np.asarray(colour)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: Colour, other: Colour) -> float:
    """As the Web Content Accessibility Guidelines define it."""
    lighter, darker = sorted((float(linear(one) @ XYZ[1]), float(linear(other) @ XYZ[1])), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def lab(colour: Colour, vision: np.ndarray) -> np.ndarray:
    seen = np.clip(vision @ linear(colour), 0, 1)
    x, y, z = (
        np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in XYZ @ seen / (0.95047, 1, 1.08883)
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: Colour, other: Colour, vision: np.ndarray) -> float:
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))


def test_the_measures_are_right() -> None:
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert lab((1, 1, 1), VISION["all three"]) == pytest.approx([100, 0, 0], abs=0.1)
    assert lab((1, 0, 0), VISION["all three"]) == pytest.approx([53.24, 80.09, 67.20], abs=0.1)
    # What the simulation is for: a red and a green of one lightness are nearly the same for deuteranopes.
    red, green = (0.75, 0.25, 0.2), (0.36, 0.5, 0.1)
    assert distance(red, green, VISION["deuteranopia"]) < 15 < 60 < distance(red, green, VISION["all three"])


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_texts_are_legible(theme: Theme) -> None:
    for colour in (theme.ink, theme.muted, theme.warm_up_text):
        for ground in (theme.paper, theme.panel):
            assert contrast(colour, ground) >= 4.5


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_marks_stand_out_from_the_panel(theme: Theme) -> None:
    # 3 is what the guidelines ask of graphics.
    for colour in (*theme.groups, theme.spoke, theme.curve, theme.ink):
        assert contrast(colour, theme.panel) >= 3
    for colour in (theme.ghost, theme.hidden, theme.curve_ahead):
        assert contrast(colour, theme.panel) >= 1.5


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_colours_that_tell_things_apart_do_so_for_every_vision(theme: Theme, vision: str) -> None:
    meant: list[tuple[Colour, ...]] = [
        # Position groups, runs, and the centre that never moves.
        (*theme.groups, theme.ink),
        # The bar: warm-up to come, warm-up, past, to come.
        (theme.warm_up_track, theme.warm_up, theme.ink, theme.track),
        (theme.curve, theme.curve_ahead),
        (theme.groups[0], theme.hidden, theme.ghost),
    ]
    for colours in meant:
        for one, other in itertools.combinations(colours, 2):
            assert distance(one, other, VISION[vision]) >= APART, (one, other)


def test_fading_goes_from_the_panel_to_the_colour() -> None:
    for theme in THEMES.values():
        faded = theme.fade(theme.group(0), np.array([0.0, 0.5, 1.0]))
        assert faded[0] == pytest.approx(theme.panel)
        assert faded[2] == pytest.approx(theme.group(0))
        assert faded[1] == pytest.approx((np.asarray(theme.panel) + theme.group(0)) / 2)


def test_groups_repeat_after_eight() -> None:
    assert len({LIGHT.group(group) for group in range(20)}) == 8
    assert LIGHT.group(8) == LIGHT.group(0)
