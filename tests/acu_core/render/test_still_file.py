from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
import zlib

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from acu_core.render.still_file import encode_still


@pytest.fixture
def figure() -> Figure:
    figure = Figure((4, 3), dpi=90)
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    axes.plot([0, 1, 3], [2, 0, 1], clip_on=True)
    figure.text(0.1, 0.93, "iteration 12,345 of é", fontfamily="DejaVu Sans", fontweight="bold")
    return figure


def test_a_png_has_the_pixels_of_the_figure(figure: Figure) -> None:
    with Image.open(io.BytesIO(encode_still(figure, ".png"))) as image:
        assert image.size == (360, 270)
        assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_a_pdf_is_vectors_with_its_fonts_as_truetype(figure: Figure) -> None:
    content = encode_still(figure, ".pdf")
    assert content.startswith(b"%PDF-")
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    # As many as the text has styles; no picture made of pixels.
    assert content.count(b"/FontFile2") == 2
    assert b"/Subtype /Image" not in content
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    drawn = b"".join(zlib.decompress(stream) for stream in streams[:1])
    assert re.search(rb"[\d.]+ [\d.]+ l\b", drawn)


def test_an_svg_is_vectors_and_refers_to_nothing_outside(figure: Figure) -> None:
    content = encode_still(figure, ".svg")
    root = ElementTree.fromstring(content)
    assert root.tag.endswith("svg")
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    # Text is outlines: it looks the same without the font.
    assert "path" in kinds
    assert kinds.isdisjoint({"text", "image", "script", "foreignObject"})
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.rpartition("}")[2] in ("href", "src", "resource"):
                assert value.startswith("#"), value
            assert re.fullmatch(r"(?!.*url\().*|.*url\(#.*", value), value
    text = content.decode()
    assert "DOCTYPE" not in text
    # What is left of addresses are the names of XML's vocabularies, which nobody looks up.
    assert set(re.findall(r"""["'](https?://[^"']*)""", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/XML/1998/namespace",
    }


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_figure_makes_the_same_file_and_changes_no_settings(figure: Figure, suffix: str) -> None:
    before = matplotlib.rcParams.copy()
    assert encode_still(figure, suffix) == encode_still(figure, suffix)
    assert matplotlib.rcParams.copy() == before
