"""One thin file a command; whatever is heavy is imported inside the functions, so that `acu --help` stays quick."""
