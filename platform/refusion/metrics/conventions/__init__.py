"""Conventions of public evaluators, one file each: the metrics that they define otherwise than ``authors``."""
