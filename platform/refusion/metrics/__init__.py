"""Fusion metrics in named conventions (docs/metrics.md): ``evaluate`` runs any of them on a batch."""

from refusion.metrics.lookup import CATALOGUE, CONVENTIONS, METRICS
from refusion.metrics.suite import evaluate, evaluate_against

__all__ = ["CATALOGUE", "CONVENTIONS", "METRICS", "evaluate", "evaluate_against"]
