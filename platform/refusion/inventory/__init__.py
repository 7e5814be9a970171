"""Inventory of the runs and sweeps in their storage: what they are, whether they live, what may go."""
