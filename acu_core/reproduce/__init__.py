"""The paper's tables: which runs a table needs, training them, and the table itself."""
