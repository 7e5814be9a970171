"""Ablations: the same training with one thing changed, per task and seed, scored on the val pairs."""
