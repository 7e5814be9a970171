"""Scores of fused pictures of any origin: who made them, what they score, which differences are more than chance."""
