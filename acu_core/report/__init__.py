"""The page of a run: one file that shows in any browser what happened, and needs no network."""
