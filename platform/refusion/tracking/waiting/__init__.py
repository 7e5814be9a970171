"""Writes to MLflow that wait on the disk until its store takes them: entries, their operations, and who writes them."""
