"""Results of a sweep: comparison on held-out pairs, replay, best settings."""
