"""Comparison of recorded runs: what is compared, its numbers, tables, charts, pictures and page."""
