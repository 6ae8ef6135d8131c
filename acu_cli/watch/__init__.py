"""A run in progress, live on a terminal, from its files alone. Needs NumPy and nothing heavier: it starts at once."""
