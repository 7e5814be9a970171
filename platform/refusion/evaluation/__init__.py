"""Scores of fused images of any origin, side by side, with intervals and tests."""
