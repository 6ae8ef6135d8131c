"""A figure as the bytes of a PNG, an SVG or a PDF, the same for the same figure."""

from __future__ import annotations

import re
import threading
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# PDF: TrueType fonts, embedded, which printers and journals ask for. SVG: text as outlines, for an embedded font is
# shown by browsers only, and any other program would take a font of its own. The salt makes names within it repeatable.
_SETTINGS: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "acu"}
# No dates, and no address that a reader of SVG might look up.
_METADATA: dict[str, dict[str, Any]] = {
    ".svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
    ".pdf": {"CreationDate": None},
}
_DOCTYPE = re.compile(rb"<!DOCTYPE[^>]*>\s*")
# Matplotlib takes its settings from one place for all threads.
_one_at_a_time = threading.Lock()


def encode_still(figure: Figure, suffix: str) -> bytes:
    """The figure as it is now; `suffix` is .png, .svg or .pdf."""
    buffer = BytesIO()
    with _one_at_a_time, matplotlib.rc_context(_SETTINGS):
        figure.savefig(buffer, format=suffix[1:], dpi=figure.dpi, metadata=_METADATA.get(suffix))
    content = buffer.getvalue()
    return _DOCTYPE.sub(b"", content, count=1) if suffix == ".svg" else content
