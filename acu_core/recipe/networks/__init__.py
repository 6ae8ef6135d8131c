"""The tables of the networks, one a file."""
