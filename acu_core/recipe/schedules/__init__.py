"""The tables of the schedules, one a file."""
