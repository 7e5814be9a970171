"""Which trial goes on, stops or changes."""
