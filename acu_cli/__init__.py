"""The command line of acu: thin commands over `acu_core`, and the one place that prints."""
