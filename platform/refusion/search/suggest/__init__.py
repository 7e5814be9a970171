"""Suggestions: the values of the next trial."""
