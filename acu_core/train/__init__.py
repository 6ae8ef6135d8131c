"""Training: the recipe, the loop, evaluation, resuming, rounding. Its modules are imported by name.

Nothing is imported here, because `acu recipes check` reads recipes and must not wait for PyTorch.
"""
