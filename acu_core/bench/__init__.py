"""How fast the operator and the training are, beside what they would replace, in one process and in random order."""
