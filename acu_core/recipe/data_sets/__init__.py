"""The tables of the data sets, one a file."""
