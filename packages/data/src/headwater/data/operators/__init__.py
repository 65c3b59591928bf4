"""Operators: one decision about documents in each file. They know no engine."""
