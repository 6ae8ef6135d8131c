"""The paper's tables: which runs a table needs, training them, and the table itself. Modules are imported by name.

Nothing is imported here, because `acu reproduce` checks its arguments before it waits for PyTorch.
"""
