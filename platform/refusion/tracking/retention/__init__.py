"""Retention of what registered models need."""
