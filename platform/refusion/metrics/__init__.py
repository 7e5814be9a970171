"""Fusion metrics in a named convention: one file per family, one table of facts, one function that runs them."""

from refusion.metrics.catalogue import CATALOGUE, CONVENTIONS, METRICS
from refusion.metrics.suite import evaluate, evaluate_against

__all__ = ["CATALOGUE", "CONVENTIONS", "METRICS", "evaluate", "evaluate_against"]
