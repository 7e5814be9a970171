"""Trials of a sweep: what each one runs, where it fits, and its records."""
