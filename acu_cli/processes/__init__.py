"""One training by several processes: what starts them, and what each of them shows."""
