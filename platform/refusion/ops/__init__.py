"""Differentiable operations that know no network."""
