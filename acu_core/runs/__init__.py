"""The formats on disk: a run directory, its snapshots, its logs and its checkpoints."""
