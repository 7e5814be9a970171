"""Registered models: their signature, and moving the alias of the best one."""
