"""The authors' Caffe networks, imported as runs."""

from __future__ import annotations

from acu_core.caffe.import_run import ImportedRun, import_caffe

__all__ = ["ImportedRun", "import_caffe"]
