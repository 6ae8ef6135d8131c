"""Networks that leave: plain layers in a file of a common format, checked by evaluating the written file itself."""

from __future__ import annotations

from acu_core.export.comparison import Comparison
from acu_core.export.exported_run import ExportReport, export_run
from acu_core.export.formats import FORMATS

__all__ = ["FORMATS", "Comparison", "ExportReport", "export_run"]
