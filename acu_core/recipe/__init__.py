"""What a run is told: the schema of recipes, their TOML, their checks. Needs neither PyTorch nor data."""
