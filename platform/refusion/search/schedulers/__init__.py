"""Schedulers: which trial goes on, stops or changes."""
