"""The tables of the optimizers, one a file."""
