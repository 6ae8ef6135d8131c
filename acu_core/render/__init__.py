"""From snapshots to pictures: how the shapes of a run's layers changed."""
