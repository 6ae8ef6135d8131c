"""The formats on disk: a run directory, its snapshots, its logs and its checkpoints."""

from __future__ import annotations

from acu_core.runs.checkpoints import Checkpoint, load_checkpoint, load_latest_checkpoint, save_checkpoint
from acu_core.runs.json_lines import LogWriter, read_log
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

__all__ = [
    "Checkpoint",
    "LayerEntry",
    "LogWriter",
    "RunDirectory",
    "SnapshotFile",
    "SnapshotWriter",
    "load_checkpoint",
    "load_latest_checkpoint",
    "read_log",
    "save_checkpoint",
]
