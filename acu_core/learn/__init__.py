"""How a network learns: the training step, its schedule, evaluation. Knows no files."""
