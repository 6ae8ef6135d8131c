"""The formats on disk: a run directory, its snapshots, its logs and its checkpoints."""

from __future__ import annotations

from acu_core.runs.checkpoints import (
    Checkpoint,
    LogLengths,
    list_checkpoints,
    load_checkpoint,
    load_latest_checkpoint,
    save_checkpoint,
)
from acu_core.runs.environment_file import Environment
from acu_core.runs.json_lines import LogWriter, read_log
from acu_core.runs.metrics import EvaluationRecord, Metrics, TrainingRecord, read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts, TruncatedHeaderError
from acu_core.runs.snapshot_writer import SnapshotWriter
from acu_core.runs.timings import TimingRecord, read_timings

__all__ = [
    "Checkpoint",
    "Environment",
    "EvaluationRecord",
    "LayerEntry",
    "LogLengths",
    "LogWriter",
    "Metrics",
    "RunDirectory",
    "SnapshotFile",
    "SnapshotWriter",
    "TimingRecord",
    "TrainingFacts",
    "TrainingRecord",
    "TruncatedHeaderError",
    "list_checkpoints",
    "load_checkpoint",
    "load_latest_checkpoint",
    "read_log",
    "read_metrics",
    "read_timings",
    "save_checkpoint",
]
